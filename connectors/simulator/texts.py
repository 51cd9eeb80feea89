"""What customers, agents and reviewers of the simulated market write, in seven languages. Written for this purpose.

Must not know who writes when. `{order}` stands for an order number, `{agent}` for the brand that signs.
"""

TEAM = "Kundenservice Nordlicht"

QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "where": {
        "en": (
            "Hello, my order {order} should have arrived by now. Where is my parcel?",
            "The tracking for {order} has not moved for days. Can you please tell me when it will be delivered?",
        ),
        "de": (
            "Guten Tag, meine Bestellung {order} ist immer noch nicht angekommen. Wo bleibt mein Paket?",
            "Die Sendungsverfolgung zu {order} steht seit Tagen still. Wann kann ich mit der Lieferung rechnen?",
        ),
        "fr": (
            "Bonjour, je n'ai toujours pas reçu ma commande {order}. Pouvez-vous me dire où se trouve mon colis ?",
            "Le suivi de la commande {order} n'a pas changé depuis plusieurs jours. Quand vais-je être livré ?",
        ),
        "es": (
            "Hola, todavía no he recibido mi pedido {order}. ¿Dónde está mi paquete?",
            "El seguimiento del pedido {order} no cambia desde hace días. ¿Cuándo me lo van a entregar?",
        ),
        "it": (
            "Buongiorno, non ho ancora ricevuto il mio ordine {order}. Dove si trova il pacco?",
            "Il tracciamento dell'ordine {order} è fermo da giorni. Quando sarà consegnato?",
        ),
        "zh": (
            "您好，我的订单 {order} 还没有收到，请问包裹现在到哪里了？",
            "订单 {order} 的物流信息好几天没有更新了，请帮我查一下什么时候能送到。",
        ),
        "ja": (
            "注文番号 {order} の商品がまだ届いていません。荷物は今どこにありますか？",
            "{order} の配送状況が数日間更新されていません。いつ届くか教えてください。",
        ),
    },
    "return": {
        "en": (
            "I would like to send back an item from order {order}. How do I get a return label?",
            "This is not what I expected and I want to return it for a refund, please. Order {order}.",
        ),
        "de": (
            "Ich möchte einen Artikel aus der Bestellung {order} zurücksenden. Wie bekomme ich ein Rücksendeetikett?",
            "Das Gerät entspricht nicht meinen Vorstellungen, ich widerrufe den Kauf {order} und bitte um Erstattung.",
        ),
        "fr": (
            "Je souhaite retourner un article de la commande {order}. Comment obtenir l'étiquette de retour ?",
            "Le produit ne me convient pas, je voudrais le renvoyer et être remboursé. Commande {order}.",
        ),
        "es": (
            "Quiero devolver un artículo del pedido {order}. ¿Cómo consigo la etiqueta de devolución?",
            "El producto no es lo que esperaba y quisiera devolverlo y recibir el reembolso. Pedido {order}.",
        ),
        "it": (
            "Vorrei restituire un articolo dell'ordine {order}. Come posso avere l'etichetta di reso?",
            "Il prodotto non è come me lo aspettavo, vorrei renderlo e avere il rimborso. Ordine {order}.",
        ),
        "zh": (
            "我想退回订单 {order} 里的一件商品，请问怎么申请退货标签？",
            "东西和我想的不一样，我要退货退款，订单号是 {order}。",
        ),
        "ja": (
            "注文 {order} の商品を返品したいのですが、返送用ラベルはどうすればもらえますか？",
            "思っていたものと違うので、返品と返金をお願いします。注文番号は {order} です。",
        ),
    },
    "defect": {
        "en": (
            "The device from order {order} does not switch on, even after charging it all night.",
            "It worked for two days and now the screen stays black. I need a replacement for {order}.",
        ),
        "de": (
            "Das Gerät aus der Bestellung {order} lässt sich nicht einschalten, obwohl es die ganze Nacht geladen hat.",
            "Nach zwei Tagen bleibt der Bildschirm schwarz. Ich bitte um Ersatz für {order}.",
        ),
        "fr": (
            "L'appareil de la commande {order} ne s'allume pas, même après une nuit de charge.",
            "Il a marché deux jours et maintenant l'écran reste noir. Je demande un échange pour {order}.",
        ),
        "es": (
            "El aparato del pedido {order} no se enciende, aunque lo he cargado toda la noche.",
            "Funcionó dos días y ahora la pantalla se queda negra. Necesito un cambio para el pedido {order}.",
        ),
        "it": (
            "Il dispositivo dell'ordine {order} non si accende, anche dopo una notte di ricarica.",
            "Ha funzionato due giorni e adesso lo schermo resta nero. Chiedo la sostituzione per {order}.",
        ),
        "zh": (
            "订单 {order} 的机器充了一整晚电还是开不了机。",
            "用了两天屏幕就黑了，请给我换一台新的，订单 {order}。",
        ),
        "ja": (
            "注文 {order} の本体ですが、一晩充電しても電源が入りません。",
            "二日間は使えましたが、画面が真っ暗になりました。{order} の交換をお願いします。",
        ),
    },
    "damaged": {
        "en": ("The box of {order} arrived crushed and the product inside is scratched. I have attached photos.",),
        "de": ("Der Karton zu {order} kam eingedrückt an und der Artikel ist zerkratzt. Fotos sind im Anhang.",),
        "fr": ("Le carton de {order} est arrivé écrasé et le produit est rayé. Vous trouverez des photos ci-joint.",),
        "es": ("La caja del pedido {order} llegó aplastada y el producto está rayado. Adjunto fotos.",),
        "it": ("La scatola dell'ordine {order} è arrivata schiacciata e il prodotto è graffiato. Allego le foto.",),
        "zh": ("订单 {order} 的箱子被压坏了，里面的商品有划痕，照片请看附件。",),
        "ja": ("{order} の箱が潰れた状態で届き、商品に傷が付いていました。写真を添付します。",),
    },
    "wrong": {
        "en": ("I ordered a black one and received a white one. Please send the right item for {order}.",),
        "de": ("Ich habe Schwarz bestellt und Weiß bekommen. Bitte senden Sie mir den richtigen Artikel zu {order}.",),
        "fr": ("J'ai commandé le modèle noir et j'ai reçu le blanc. Merci d'envoyer le bon article pour {order}.",),
        "es": ("Pedí el modelo negro y he recibido el blanco. Por favor, envíen el artículo correcto de {order}.",),
        "it": (
            "Ho ordinato il modello nero e ho ricevuto quello bianco. Vi prego di inviare l'articolo giusto, {order}.",
        ),
        "zh": ("我订的是黑色，收到的却是白色，请把 {order} 的正确商品寄给我。",),
        "ja": ("黒を注文したのに白が届きました。{order} の正しい商品を送ってください。",),
    },
    "invoice": {
        "en": ("Could you please send me an invoice with VAT for order {order}?",),
        "de": ("Könnten Sie mir bitte eine Rechnung mit ausgewiesener Mehrwertsteuer zu {order} schicken?",),
        "fr": ("Pourriez-vous m'envoyer une facture avec la TVA pour la commande {order}, s'il vous plaît ?",),
        "es": ("¿Podrían enviarme la factura con el IVA del pedido {order}, por favor?",),
        "it": ("Potreste inviarmi la fattura con l'IVA per l'ordine {order}, per favore?",),
        "zh": ("请问可以给我开一张订单 {order} 的发票吗？",),
        "ja": ("注文 {order} の領収書を発行していただけますか？",),
    },
}
"""Topic of a contact to language to first messages."""

SUBJECTS = {
    "en": "Question about my order",
    "de": "Frage zu meiner Bestellung",
    "fr": "Question sur ma commande",
    "es": "Pregunta sobre mi pedido",
    "it": "Domanda sul mio ordine",
    "zh": "关于我的订单的问题",
    "ja": "注文についての質問",
}

ANSWERS = {
    "en": (
        "Thank you for your message. I have asked the carrier and will write again tomorrow before noon. {agent}",
        "I am sorry about this. We take care of it today, and you need not do anything else for now. {agent}",
    ),
    "de": (
        "Vielen Dank für Ihre Nachricht. Ich habe beim Versand nachgefragt und melde mich morgen Vormittag. {agent}",
        "Das tut mir leid. Wir kümmern uns noch heute darum, Sie müssen vorerst nichts weiter tun. {agent}",
    ),
    "fr": (
        "Merci pour votre message. J'ai interrogé le transporteur et je vous réponds demain avant midi. {agent}",
        "Je suis désolée pour ce désagrément. Nous nous en occupons aujourd'hui, vous n'avez rien à faire. {agent}",
    ),
    "es": (
        "Gracias por su mensaje. He preguntado al transportista y le escribiré mañana antes del mediodía. {agent}",
        "Lamento lo ocurrido. Nos ocupamos hoy mismo y de momento no tiene que hacer nada más. {agent}",
    ),
    "it": (
        "Grazie per il messaggio. Ho chiesto al corriere e le scriverò domani entro mezzogiorno. {agent}",
        "Mi dispiace per l'accaduto. Ce ne occupiamo oggi stesso e per ora non deve fare altro. {agent}",
    ),
    "zh": (
        "感谢您的来信，我们已经联系了物流公司，明天中午之前会再给您回复。{agent}",
        "非常抱歉给您带来不便，我们今天就会处理，您暂时不需要做任何事情。{agent}",
    ),
    "ja": (
        "ご連絡ありがとうございます。配送会社に確認し、明日の午前中に改めてご連絡いたします。{agent}",
        "ご不便をおかけして申し訳ございません。本日中に対応いたしますので、少々お待ちください。{agent}",
    ),
}

FOLLOW_UPS = {
    "en": "Is there any news? I am still waiting for an answer to my question.",
    "de": "Gibt es schon etwas Neues? Ich warte immer noch auf eine Lösung.",
    "fr": "Avez-vous des nouvelles ? J'attends toujours une solution.",
    "es": "¿Hay alguna novedad? Sigo esperando una solución.",
    "it": "Ci sono novità? Sto ancora aspettando una soluzione.",
    "zh": "请问有新的消息吗？我还在等你们的处理结果。",
    "ja": "その後いかがでしょうか？まだ解決していないので、返事を待っています。",
}

REOPENINGS = {
    "en": "Unfortunately the problem is back, please have another look at it.",
    "de": "Leider besteht das Problem weiterhin, bitte sehen Sie es sich noch einmal an.",
    "fr": "Malheureusement le problème est revenu, merci de regarder à nouveau.",
    "es": "Por desgracia el problema continúa, por favor revísenlo otra vez.",
    "it": "Purtroppo il problema si è ripresentato, vi prego di controllare di nuovo.",
    "zh": "很遗憾问题又出现了，请你们再看一下。",
    "ja": "残念ながら問題が再発しました。もう一度ご確認をお願いします。",
}

AUTOMATIC = {
    "en": "We have received your message and will answer within our working hours.",
    "de": "Wir haben Ihre Nachricht erhalten und antworten innerhalb unserer Servicezeiten.",
    "fr": "Nous avons bien reçu votre message et vous répondrons pendant nos heures d'ouverture.",
    "es": "Hemos recibido su mensaje y le responderemos dentro de nuestro horario de atención.",
    "it": "Abbiamo ricevuto il suo messaggio e risponderemo durante l'orario di servizio.",
    "zh": "我们已收到您的来信，客服会在工作时间内尽快回复您。",
    "ja": "お問い合わせを受け付けました。営業時間内に担当者よりご返信いたします。",
}

NOTICES = {
    "en": "Your parcel for order {order} is held up. We are following it and will write when it moves on. {agent}",
    "de": "Ihr Paket zur Bestellung {order} verzögert sich. Wir behalten es im Blick und melden uns wieder. {agent}",
    "fr": "Votre colis de la commande {order} a pris du retard. Nous le suivons et revenons vers vous. {agent}",
    "es": "El paquete de su pedido {order} sufre un retraso. Lo seguimos de cerca y le avisaremos. {agent}",
    "it": "Il pacco del suo ordine {order} è in ritardo. Lo seguiamo e la aggiorneremo presto. {agent}",
    "zh": "您的订单 {order} 的包裹在途中有所延误，我们会持续跟进并及时通知您。{agent}",
    "ja": "ご注文 {order} のお荷物に遅れが出ております。状況が分かり次第ご連絡いたします。{agent}",
}
"""An agent writes first."""

THANKS = {
    "en": "Thank you for letting me know, I will wait until the parcel arrives.",
    "de": "Danke für die Information, dann warte ich noch auf das Paket.",
    "fr": "Merci de m'avoir prévenu, je vais attendre encore le colis.",
    "es": "Gracias por avisarme, seguiré esperando el paquete.",
    "it": "Grazie per avermi avvisato, aspetterò ancora il pacco.",
    "zh": "谢谢你们的通知，那我再等一等包裹。",
    "ja": "ご連絡ありがとうございます。荷物が届くまで待ってみます。",
}

REVIEWS: dict[str, dict[str, str]] = {
    "good": {
        "en": "Fast delivery and it works exactly as described. Happy to buy here again.",
        "de": "Schnelle Lieferung und alles wie beschrieben. Gerne wieder.",
        "fr": "Livraison rapide et produit conforme à la description. Je recommande.",
        "es": "Entrega rápida y el producto es tal como se describe. Volveré a comprar.",
        "it": "Consegna veloce e prodotto come descritto. Comprerò ancora volentieri.",
        "zh": "发货很快，商品和描述一致，下次还会再买。",
        "ja": "配送が早く、商品も説明どおりでした。また利用したいです。",
    },
    "mixed": {
        "en": "The product is fine, but it took longer than promised.",
        "de": "Der Artikel ist in Ordnung, aber es hat länger gedauert als versprochen.",
        "fr": "Le produit est correct, mais la livraison a été plus longue que prévu.",
        "es": "El producto está bien, pero tardó más de lo prometido.",
        "it": "Il prodotto va bene, ma ci è voluto più tempo del previsto.",
        "zh": "东西还可以，但是等的时间比承诺的长。",
        "ja": "商品は良いのですが、予定より時間がかかりました。",
    },
    "bad": {
        "en": "Very disappointing. I waited far too long and nobody could help me.",
        "de": "Sehr enttäuschend. Ich habe viel zu lange gewartet und niemand konnte mir helfen.",
        "fr": "Très déçu. J'ai attendu beaucoup trop longtemps et personne n'a pu m'aider.",
        "es": "Muy decepcionante. Esperé demasiado tiempo y nadie pudo ayudarme.",
        "it": "Molto deludente. Ho aspettato troppo e nessuno ha saputo aiutarmi.",
        "zh": "非常失望，等了很久，也没有人能帮我解决。",
        "ja": "とても残念です。長い間待たされ、誰も対応してくれませんでした。",
    },
}
