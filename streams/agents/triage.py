"""Triage: says what a text is about, as a new event beside the message. For now: its language. No state.

The model is py3langid (a naive Bayes over byte n-grams, 97 languages, on numpy alone). A worker reads it before it
joins its group, and nobody else does: it takes most of a second, and on a busy machine longer than a group waits for a
member that says nothing.
"""

from functools import cache
from importlib.metadata import version
from typing import Any

from streams import codec
from streams.delivery.agent import Agent, Effects, Record, Send, State
from streams.domain.events import Classification, MessageText
from streams.errors import BadInput

MIN_LETTERS = 12
"""Texts with fewer letters are `und`: a few words say little, and scripts without spaces need about as many."""
MAX_CHARACTERS = 4_000
"""Of a text that are looked at; more would tell nothing new."""
UNDETERMINED = "und"
"""ISO 639-2 code for a language that can't be told."""


@cache
def _model() -> tuple[Any, str]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True), f"py3langid-{version('py3langid')}"


def language_of(text: str) -> tuple[str, float]:
    """ISO 639-1 code of the language of a text, and how sure the model is (0 to 1)."""
    text = text[:MAX_CHARACTERS]
    letters = sum(character.isalpha() for character in text)
    # One character of Chinese or Japanese says as much as several letters.
    if letters + 2 * sum("\u2e80" < character < "\uff00" for character in text) < MIN_LETTERS:
        return UNDETERMINED, 0.0
    language, probability = _model()[0].classify(text)
    return str(language), float(probability)


def decide(record: Record, state: State[None]) -> Effects[None]:
    """Classify one text. Raises BadInput."""
    text = codec.decode(record.value)
    if not isinstance(text, MessageText):
        raise BadInput("wrong_record", f"a {text.NAME} on the topic message_text")
    language, probability = language_of(f"{text.subject or ''} {text.text}")
    classification = Classification(
        text_of=text.text_of,
        about=text.about,
        account=text.account,
        event_at=text.event_at,
        language=language,
        language_probability=round(probability, 6),
        model=_model()[1],
    )
    return Effects(sends=[Send("classification", record.key, codec.encode(classification))])


AGENT: Agent[None] = Agent(name="triage", inputs=("message_text",), outputs=("classification",), decide=decide)


def agent() -> Agent[None]:
    """The step, ready to work: its model has been read."""
    _model()
    return AGENT
