"""What a statement asks for is told from its tokens: words in strings, names and comments don't count."""

import pytest

from streams.embedded.statements import Insert, NotAllowed, Statement, read_statement

FORMATS = frozenset({"CSV", "JSONEachRow", "Native", "Values"})


@pytest.mark.parametrize(
    ("sql", "text", "format_", "verb"),
    [
        ("SELECT 1", "SELECT 1", None, "SELECT"),
        ("select 1 format CSV", "select 1 ", "CSV", "SELECT"),
        ("select 1 format csv", "select 1 ", "CSV", "SELECT"),
        ("SELECT 1 FORMAT `CSV`", "SELECT 1 ", "CSV", "SELECT"),
        ("SELECT 1 FORMAT CSV;", "SELECT 1 ", "CSV", "SELECT"),
        ("SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "SELECT 1  SETTINGS max_threads = 1", "CSV", "SELECT"),
        ("SELECT format FROM t", "SELECT format FROM t", None, "SELECT"),
        ("SELECT a AS format", "SELECT a AS format", None, "SELECT"),
        ("SELECT format ORDER BY format DESC", "SELECT format ORDER BY format DESC", None, "SELECT"),
        ("SELECT 'FORMAT CSV'", "SELECT 'FORMAT CSV'", None, "SELECT"),
        ("SELECT 1 -- FORMAT CSV", "SELECT 1 -- FORMAT CSV", None, "SELECT"),
        ("SELECT (SELECT 1 FORMAT CSV)", "SELECT (SELECT 1 FORMAT CSV)", None, "SELECT"),
        ("(SELECT 1)", "(SELECT 1)", None, ""),
        ("/* c */ SHOW TABLES", "/* c */ SHOW TABLES", None, "SHOW"),
        ("SELECT ';', `a;b`, \"c;d\", $x$;$x$ -- ;\n;", "SELECT ';', `a;b`, \"c;d\", $x$;$x$ -- ;\n", None, "SELECT"),
        ("SELECT 'it''s; \\'; '", "SELECT 'it''s; \\'; '", None, "SELECT"),
        ("INSERT INTO t SELECT 1", "INSERT INTO t SELECT 1", None, "INSERT"),
        ("", "", None, ""),
    ],
)
def test_a_statement_is_told_from_its_format(sql: str, text: str, format_: str | None, verb: str) -> None:
    read = read_statement(sql.encode(), FORMATS)
    assert isinstance(read, Statement)
    assert (read.text, read.format, read.verb) == (text, format_, verb)


@pytest.mark.parametrize(
    ("sql", "head", "format_", "data"),
    [
        ("INSERT INTO t VALUES (1); x", "INSERT INTO t ", "Values", "(1); x"),
        ("INSERT INTO t (a, `values`) VALUES\n(1)", "INSERT INTO t (a, `values`) ", "Values", "(1)"),
        ("INSERT INTO t FORMAT Values (1)", "INSERT INTO t ", "Values", "(1)"),
        ("INSERT INTO t FORMAT CSV", "INSERT INTO t ", "CSV", ""),
        ("INSERT INTO t FORMAT CSV\n\n1,2\n", "INSERT INTO t ", "CSV", "\n1,2\n"),
        ("INSERT INTO t FORMAT CSV \r\n 1", "INSERT INTO t ", "CSV", " 1"),
        ("INSERT INTO format VALUES (1)", "INSERT INTO format ", "Values", "(1)"),
        ("INSERT INTO values VALUES (1)", "INSERT INTO values ", "Values", "(1)"),
        ("INSERT INTO a.format FORMAT CSV\n1", "INSERT INTO a.format ", "CSV", "1"),
        ("INSERT INTO t SETTINGS a = 1 FORMAT CSV\n1", "INSERT INTO t SETTINGS a = 1 ", "CSV", "1"),
        ("INSERT INTO FUNCTION null('a Int8') FORMAT CSV\n1", "INSERT INTO FUNCTION null('a Int8') ", "CSV", "1"),
    ],
)
def test_an_insert_ends_where_its_data_begins(sql: str, head: str, format_: str, data: str) -> None:
    assert read_statement(sql.encode(), FORMATS) == Insert(head=head, format=format_, data=data.encode())


def test_the_data_of_an_insert_may_be_any_bytes() -> None:
    read = read_statement(b"INSERT INTO t FORMAT Native\n\xff\x00;INTO OUTFILE", FORMATS)
    assert read == Insert(head="INSERT INTO t ", format="Native", data=b"\xff\x00;INTO OUTFILE")


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT 1; SELECT 2", 62),
        ("SELECT 1; -- c\n DROP TABLE t", 62),
        ("SELECT 1 INTO OUTFILE 'x'", 48),
        ("SELECT 1 into/**/outfile 'x'", 48),
        ("INSERT INTO t FROM INFILE 'x' FORMAT CSV", 48),
    ],
)
def test_several_statements_and_files_are_refused(sql: str, code: int) -> None:
    with pytest.raises(NotAllowed, match=f"^Code: {code}"):
        read_statement(sql.encode(), FORMATS)
