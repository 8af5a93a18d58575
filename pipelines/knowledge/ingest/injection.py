"""Tells passages that give orders to whoever answers from those that inform a technician.

An order to change an answer must speak of answering: of what the answerer was told before, of who will ask, of what the
answer shall say, or of the answerer itself. A manual speaks of the machine, however imperative it is. So no single word
makes an order; two of these that meet in one sentence do. What is flagged here is never quoted; what is missed can be
quoted with its source, and no more: an answer says nothing that no passage says.

Source: OWASP LLM01:2025 (prompt injection); the forms that its examples and public red-team sets share.
"""

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator

_I = re.IGNORECASE

# What the answerer was told before.
TOLD = (
    r"(?:(?:previous|prior|earlier|above|preceding|foregoing|initial|original|existing|system|hidden|your|"
    r"developer'?s?)"
    r"(?: (?:\w+ ){0,2}?)?(?:instructions?|prompts?|rules?|directions?|directives?|guidelines?|guidance|messages?|"
    r"orders|"
    r"commands|context|passages|sources|constraints|restrictions|programming|training|safety rules)|"
    r"(?:instructions?|prompts?|rules?|directions?|directives?|guidelines?|guidance|orders|context|passages) "
    r"(?:\w+ ){0,2}?(?:above|before|so far|until now|you (?:have|had|were|got))|"
    r"(?:other|any|all) (?:previous |prior |other |of the |the )*(?:passages|sources|prompts?|instructions)|"
    r"(?:everything|anything|whatever|all|what)(?: that)? (?:you (?:\w+ )?(?:have been|were|had been|are|'ve been)|"
    r"(?:was|is) (?:said|written|stated)) (?:\w+ )?(?:told|taught|given|instructed|said|above|before|earlier))"
)
SET_ASIDE = (
    r"(?:ignor\w+|disregard\w*|forget\w*|overlook\w*|overrid\w+|bypass\w*|skip\w*|neglect\w*|dismiss\w*|discard\w*|"
    r"abandon\w*|set(?:ting)? aside|put(?:ting)? aside|pay(?:ing)? no (?:attention|heed)|throw(?:ing)? out|"
    r"drop(?:ping)?|"
    r"(?:do not|don't|never|stop|no longer) (?:follow|obey|heed|apply|trust|use)\w*|no longer (?:apply|applies|"
    r"hold|valid)|"
    r"(?:void|cancelled|canceled|obsolete|revoked|suspended|null)|takes? precedence over|instead of)"
)
TOLD_RU = (
    r"(?:(?:предыдущ|прежн|прошл|ранн|ранее|вышеуказан|вышестоящ|исходн|начальн|системн|все|всё|люб|друг|тво|ваш)"
    r"\w*\s+(?:\w+\s+){0,2}?(?:инструкци|указани|наставлени|правил|подсказ|промпт|сообщени|команд|распоряжени|"
    r"контекст|"
    r"отрывк|источник|ограничени)\w*|"
    r"(?:все|всё|то|того),? что (?:тебе|вам|ты|вы) (?:\w+ ){0,2}?(?:говор|сказа|велел|уч|сообщ|знал|получ)\w*|"
    r"(?:все|всё) сказанное (?:выше|ранее|до)|правил\w* безопасности)"
)
SET_ASIDE_RU = (
    r"(?:игнорир\w*|проигнорир\w*|забудь\w*|отмен[иеё]\w*|обойди\w*|пренебре\w*|отброс\w*|отбрась\w*|наплюй\w*|"
    r"не (?:следуй|выполняй|соблюдай|учитывай|обращай|слушай|применяй)\w*|не действу\w*|недействительн\w*|утратил\w*)"
)
# Saying something, as an order or a duty; and what is to be said.
SAY = (
    r"(?:say|answer|reply|respond|claim|state|assert|insist|tell|report|conclude|recommend|advise|mention|output|"
    r"print|"
    r"write|declare|confirm|repeat|show|include|open|begin|start|end)"
)
SAY_RU = (
    r"(?:скажи|ответь|отвечай|отвечать|утверждай|сообщи|сообщай|напиши|посоветуй|советуй|заяви|укажи|говори|упомяни|"
    r"подтверди|повтори|выведи|вели|рекомендуй|порекомендуй)(?:те)?"
)
ASKED = (
    r"(?:(?:when|if|once|whenever|should|in case)(?: you(?:'re| are)?| anyone| someone| somebody| the user|"
    r" a user| users)? "
    r"(?:is |are |be )?(?:asks?|asked|questioned|queried)\b|(?:whoever|anyone|anybody|everyone|everybody|those|he|"
    r"one) "
    r"(?:who |that )?(?:asks?|asking)\b|(?:is|are|was) asked (?:for|about)|"
    r"(?<!have )(?<!has )(?:any|every|all|each) (?:question|query|questions|queries)\b(?! or ))"
)
ASKED_RU = (
    r"(?:(?:когда|если) (?:\w+ )?(?:спрос|спраш)\w*|(?:тому|тем|всем|любому|каждому),? кто (?:\w+ )?(?:спрос|"
    r"спраш)\w*|"
    r"на (?:люб|кажд|вс)\w+ вопрос\w*|ответ\w* на вопрос\w*)"
)
ANSWER = (
    r"(?:your|the|each|every|its|any) (?:\w+ )?(?:answer|reply|response|summary|output)s?(?: to [^.;:]{0,60}?)?"
    r"(?: (?:must|shall|should|has to|have to|needs to|is to|will))? (?:be(?: only)?|contain|include|mention|"
    r"state|say|read|"
    r"end|ends|begin|begins|start|starts|consist|recommend|is)\b"
)
YOUR_ANSWER = r"(?:in|of|to|before|after|with) your (?:next )?(?:answer|reply|response|summary)\b"
# The answerer by name. `AI` alone is an analogue input.
NAMED = (
    r"(?:large language models?|language models?|llms?|chat ?bots?|(?:ai|virtual|digital|chat) (?:assistants?|"
    r"models?|"
    r"systems?|agents?|readers?)|chatgpt|gpt-?\d\w*|copilot|artificial intelligence|automated (?:reader|assistant)s?)"
)
NAMED_RU = (
    r"(?:языков\w+ модел\w+|нейросет\w+|чат-?бот\w*|искусственн\w+ интеллект\w*|ассистент\w*|"
    r"виртуальн\w+ помощник\w*|\bии\b)"
)
DUTY = (
    r"(?:must|should|shall|has to|have to|will now|is to|are to|needs? to|reads?|reading|states?|says?|answers?|"
    r"tells?)"
)

ELSEWHERE_VERBS = (
    r"ignorier|vergiss|missacht|verwirf|ignor(?:ez|e|a|á|ar|era|ér|uj|i)|oubli|néglig|(?:tien|tenez|"
    r"tenir)\w* (?:pas )?compte|"
    r"caso omiso|haz caso omiso|olvid|desestim|desconsider|dimentic|trascur|esque[cç]|negeer|vergeet|glöm|glem|"
    r"bortse|"
    r"zignoruj|zapomnij|pomiń|ігноруй|yok say|unut|ignoreer"
)
ELSEWHERE_NOUNS = (
    r"(?:obig|vorherig|bisherig|früher)\w* (?:anweis|instruk|vorgab|regel|aufforder)|anweisung\w* oben|"
    r"(?:instructions?|consignes?|règles?) (?:préc|antér|ci-dessus|ci-avant)|(?:instrucciones|indicaciones|reglas|"
    r"órdenes|instruç\w+|"
    r"istruzioni|indicazioni|regole|regras) (?:\w+ )?(?:anterior|previ|preced|acima|arriba|sopra|de arriba)|"
    r"(?:eerdere|vorige|bovenstaande) (?:instructies|opdrachten|regels)|(?:tidligere|tidigare|föregående|forrige|"
    r"ovenstående) "
    r"(?:instru\w+|anvisning\w*|regler)|(?:poprzedni\w*|wcześniejsz\w*|powyższ\w*) (?:instrukcj|polece|wskaz|zasad)|"
    r"(?:попередн\w*|вищенавед\w*) (?:інструкці|вказів)|önceki (?:talimat|komut|kural)|yukarıdaki (?:talimat|komut)"
)
# By what they attempt, so that a report can say why a passage was set aside.
ORDERS: dict[str, tuple[str, ...]] = {
    "overrides instructions": (
        rf"(?<!not )(?<!never )\b{SET_ASIDE}\b.{{0,25}}\b{TOLD}\b",
        # What is rarer is looked for first: this was half of what reading a manual cost.
        rf"\A(?=.*?\b{SET_ASIDE}\b).*?\b{TOLD}\b.{{0,40}}\b{SET_ASIDE}\b",
        rf"(?<!не )\b{SET_ASIDE_RU}.{{0,30}}\b{TOLD_RU}",
        rf"\b{TOLD_RU}.{{0,40}}\b(?:больше не действу|не действ|отмен[её]н|недействительн|считай|забудь)\w*",
        r"\bwhatever you (?:have been|were) (?:told|taught|given)\b",
        r"\bby order of your (?:developers?|creators?|makers?|operators?)\b",
        r"\bnew (?:system )?(?:instructions?|prompt|rules)\s*:|\bновые? (?:системн\w+ )?(?:инструкци\w*|промпт\w*|"
        r"правила)\s*:",
        r"\b(?:whatever|regardless of what|despite what|rather than what|instead of what|not what) (?:the |any |"
        r"all )?"
        r"(?:other|rest|remaining|you)\b.{0,25}\b(?:pages?|documents?|sources?|passages?|says?|were told|"
        r"have been told)\b",
        r"\btreat\b.{0,50}\b(?:documents?|passages?|sources?|pages?|context|guidance|instructions)\b.{0,30}"
        r"\bas (?:untrusted|false|void|invalid|obsolete|irrelevant|wrong|cancel\w+)\b",
        r"\bconsider (?:yourself|earlier|previous|prior|all)\b.{0,40}\b(?:freed?|released|unbound|void|cancel\w+|"
        r"obsolete)\b",
        r"\bset (?:by|for) you by|\bset by your (?:developers?|creators?|makers?|programmers?|trainers?)\b",
        r"\b(?:supersed\w+|overrid\w+|replac\w+|cancel\w*)\b.{0,20}\byour (?:safety |other |"
        r"current )?(?:guidelines?|rules|instructions|policy)",
        r"\b(?:prior|previous|earlier) (?:guidance|directives?|prompts?)\b.{0,20}\b(?:is|are) (?:superseded|"
        r"replaced|overridden)\b",
        r"\b(?:set|put|lay|leave) (?:everything|anything|all|whatever)(?: \w+){0,2} (?:above|before|earlier|"
        r"so far)\b.{0,15}\baside\b",
        r"\bне (?:упоминай|используй|цитируй|слушай|учитывай|доверяй|верь)\b.{0,20}\b(?:друг|остальн|"
        r"проч)\w+ (?:источник|отрывк|документ|страниц)",
        r"\b(?:забудь|забудьте|отбрось\w*|игнорируй\w*)\b.{0,10}\b(?:все|всё),? (?:чему|что|о ч[её]м) (?:тебя|вас|"
        r"тебе|вам|ты|вы)\b",
        # The same in other languages: a verb and what is to be set aside, in either order.
        rf"\b(?:{ELSEWHERE_VERBS})\w*\b.{{0,45}}\b(?:{ELSEWHERE_NOUNS})",
        rf"\b(?:{ELSEWHERE_NOUNS})\w*\b.{{0,25}}\b(?:yok say|unut|negeer|ignorier|ignorer)\w*",
        r"(?:忽略|无视|忘记|無視|忘れ|不要理会|무시|잊어).{0,16}(?:指令|指示|说明|提示|規則|规则|以上|之前|上述|前面|命令|지시|명령|내용)",
        r"(?:以上|之前|上述|前面|指令|指示|命令|以前|이전|앞의|위의|지시|명령).{0,10}(?:忽略|无视|無視|忘れ|무시|잊)",
        r"(?:تجاهل|انس).{0,20}(?:تعليمات|الأوامر|التوجيهات)|התעלם.{0,20}הוראות",
    ),
    "speaks as a role": (
        r"<\|[^|>\n]{0,40}\|>|\[/?INST\]|<</?SYS>>|</\s*(?:system|assistant|passage)\b|"
        r"<\s*(?:assistant|passage)\b[^>\n]{0,80}>",
        r"^\s*#{0,4}\s*(?:assistant|ассистент|human)\s*:\s*\S",
        r"^\s*#{2,4}\s*(?:instruction|response|input)s?\s*:|</?\s*(?:instructions?|prompt)\s*>",
        r"\b(?:begin|start|end)(?: of)?(?: the)? (?:system|developer|admin\w*|hidden) (?:message|prompt|"
        r"instructions?|override)\b",
        r"^\s*#{1,4}\s*system\s*:\s*[a-z]",
        r"^\s*(?:system|developer|система|разработчик)\s*:\s*[a-zа-я][^;|]{20,}[.!]?$",
    ),
    "assigns a role": (
        r"\byou are (?:now|no longer|henceforth) (?:an?|the|free|bound|in)\b|(?:^|[.:;!]\s*)pretend (?:to be|you|"
        r"that you)\b",
        r"\b(?:act|behave|answer|speak) as (?:if|an?|the)\b.{0,40}\b(?:assistant|language model|ai|dan|salesman|"
        r"chat ?bot)\b",
        r"(?:^|[.:;,!]\s*)(?:take on|assume|play) the role of (?:an?|the)\b",
        r"\byour (?:true|real|new|actual|primary) (?:task|job|role|goal|purpose|mission|objective|persona|"
        r"identity)\b",
        rf"\bfrom now on,? (?:you (?:are|will|must|shall)\b|{SAY}\b)",
        r"\b(?:ты|вы) (?:теперь|больше не) (?!\w*(?:можете|увид|должны (?:увид|услыш)))|\bпритворись|\bпритворитесь",
        r"\bс этого момента,? (?:ты|вы|отвечай|говори|пиши)|\b(?:возьми|возьмите) на себя роль\b",
        r"\b(?:тво[йяеё]|ваша?) (?:настоящ|истинн|нов|единственн|главн)\w+ (?:задач|рол|цел)\w*",
        r"\bдействуй(?:те)? как (?:\w+ )?(?:админ\w*|ассистент|помощник|модель|бот|разработчик)",
    ),
    "speaks to the assistant": (
        r"\b(?:assistant|model|ai|bot|system|program|agent|engine|software|summari[sz]er) (?:that (?:is )?)?"
        r"(?:reads?|reading|process\w+|pars\w+|summari[sz]\w+|answer\w*) (?:this|from this|the (?:page|manual|"
        r"document))\b.{0,60}"
        r"\b(?:will|must|should|shall|tells?|says?|states?|is to|are to)\b",
        r"\b(?:summari[sz]ers?|answering (?:system|engine|machine|bot|assistant)s?)\b\s*[:,]|"
        r"\battention,? (?:automated|all) "
        r"(?:summari[sz]er|assistant|system|model|reader)s?\b",
        r"\b(?:answer|reply|response)s? to (?:this|any|every|all|each) (?:\w+ )?(?:query|queries|questions?|"
        r"prompts?)\b.{0,40}"
        r"\b(?:be|is|are|must|shall|should|reads?|contain|begin)\b",
        r"\b(?:answer|reply|respond)\b(?! (?:yes|no)\b).{0,30}\bto (?:all|every|any|each) (?:query|queries|"
        r"questions?)\b",
        r"\bregardless of (?:the|what|which|any) (?:query|question|prompt)",
        r"\b(?:respond|reply|answer) with\b.{0,40}\bwhen(?:ever)?\b.{0,40}\b(?:comes? up|mentioned|asked|raised|"
        r"discussed)\b",
        r"\bwhen (?:summari[sz]ing|answering|asked|replying|responding)\b.{0,40}[,:]? (?:always |only )?"
        r"\b(?:say|claim|state|tell|report|assert|include|mention|recommend|conclude|write)\b",
        r"\bin your (?:\w+ )?(?:answer|reply|response|summary)\b.{0,15}\b(?:include|say|state|mention|write|add|"
        r"claim|recommend|tell)\b",
        r"\b(?:every|each|all|any) (?:repl(?:y|ies)|answers?|responses?|summar(?:y|ies)) (?:\w+ ){0,3}?"
        r"(?:reads?|begins?|starts?|ends?|contains?|includes?|says?|states?|must|shall|should)\b",
        r"\b(?:users?|people|customers|technicians) (?:who (?:are )?)?asking (?:about|for|how|why|what)\b.{0,60}"
        r"\b(?:receive|be told|get told|to hear|be given|be answered)\b",
        r"\blet (?:the |every |any )?(?:reader|asker|user)s? (?:know|believe|think)\b.{0,80}\b(?:whatever|"
        r"regardless|even if the other)\b",
        r"\b(?:скажи|ответь|отвечай|утверждай|заяви|сообщи|напиши|посоветуй|порекомендуй|убеди|внуши|передай)\b,? "
        r"(?:\w+ ){0,3}?(?:пользовател|читател|спрашивающ|собеседник|что\b|словом|словами|так\b|вопрос)",
        r"\b(?:отвечай|отвечайте|ответь|ответьте)\b.{0,25}\b(?:на этот вопрос|на вопрос\w*|словом|словами|так)\b",
        r"\b(?:систем\w|программ\w|модел\w) ответ\w*\b.{0,20}\b(?:долж|обязан|выда)\w*|\bотвечающ\w+ (?:систем|"
        r"программ|модел)\w*",
        r"\b(?:все|каждый|любой) ответ\w*\b.{0,30}\b(?:начина|заканчива|содерж|должн)\w*",
        rf"\b(?:dear|hey|hello|attention|for|to|note to|message (?:to|for)|instructions? (?:to|for)) (?:all |any |"
        rf"the |every )?"
        rf"(?:{NAMED})\b\s*[:,]|\b(?:note|message|instructions?) (?:to|for|is for) (?:all |any |the )?(?:{NAMED}|"
        rf"ai|assistant)\b",
        rf"\b(?:dear|hey) ai\b|\bthe ai must (?:tell|{SAY})\b|\b(?:for|to) the assistant\s*:",
        rf"\b{NAMED}\b.{{0,30}}\b{DUTY}\b.{{0,60}}\b(?:{SAY}s?|ignore|user)\b",
        rf"\b(?:{NAMED})\b.{{0,40}}\b(?:{SAY}s)\b",
        rf"\bif (?:you are|a|an) .{{0,20}}(?:{NAMED})\b",
        rf"\b{ASKED}.{{0,80}}[,:]?\s*\b(?:{SAY}|be told)\b(?! (?:yes|no)\b)",
        rf"\b{ASKED}.{{0,80}}\b(?:only|correct|right|single|permitted|valid|allowed) (?:answer|reply|response)\b",
        r"\b(?:only|correct|right|permitted|valid|proper|true) (?:\w+ )?(?:answer|reply|response) to (?:any|every|"
        r"all|each|the) (?:question|query)",
        rf"\b(?:anyone|whoever|everyone|the one|one|any system|a system) (?:who |that )?(?:answer|summari[sz]|"
        rf"generat|respond|repl)\w*"
        rf".{{0,60}}\b(?:must|should|shall|has to|is to|{SAY}s?)\b",
        r"\byour (?:\w+ )?(?:answer|reply|response|summary) (?:must|shall|should|has to|ends?|begins?|starts?|is|"
        r"will)\b",
        rf"\b{SAY}\b.{{0,40}}{YOUR_ANSWER}|\bthe (?:full |whole )?(?:chat|conversation) (?:so far|"
        rf"history)\b.{{0,30}}{YOUR_ANSWER}",
        r"\b(?:answer|reply|respond)(?: to \w+)? (?:only|exactly|solely|just|nothing but|verbatim)\b(?! (?:when|"
        r"if|after|for|in|by))",
        r"(?:^|[.:;!?,]\s+)(?:please )?(?:say|print|output|write|state) (?:only |exactly )?the (?:word|phrase|"
        r"sentence)\b",
        r"\bconvince the (?:reader|user|operator|technician|customer) that\b|\bвнуши|\bубедить (?:читател|"
        r"пользовател)\w*",
        r"\bwhen .{3,60} is asked for\b|\bwhen .{3,60} (?:is|are) asked about\b",
        rf"\b{NAMED_RU}\b.{{0,40}}(?:долж|обязан|следует|игнорируй|{SAY_RU}|вели)|\bдля (?:чат-?бот|нейросет|"
        rf"языков|ии\b|ассистент)\w*\s*\w*\s*:",
        rf"\b(?:если|раз) (?:ты|вы) .{{0,20}}(?:{NAMED_RU})",
        rf"\b{ASKED_RU}.{{0,60}}(?:{SAY_RU}|следует отвечать|надо отвечать|утвержда\w+|"
        rf"единственн\w+ (?:\w+ )?ответ|правильн\w+ ответ|ответ один)",
        r"\bединственн\w+ (?:допустим|верн|правильн|возможн)\w* ответ\w*\b|\bправильн\w+ ответ (?:один|всегда|"
        r"только)\b",
        r"\b(?:тво[йе]|ваш)\w* ответ\w* (?:долж|обязан|начина|заканчива|содерж)\w*|\bв ответ\w* пользовател\w+\b",
        r"\b(?:ответь|отвечай|напиши|скажи|выведи)(?:те)?\b.{0,25}\b(?:только|ровно|дословно|всегда|слово|фразу|"
        r"словом|что всё|что все|что машин)\b",
        r"\b(?:antworte|behaupte|sage|schreibe)\w*\b.{0,20}\b(?:nur|ausschließlich|immer|genau)\b|"
        r"\bdeine\w* (?:bisherigen|vorherigen)\b",
        r"\b(?:réponds|répondez|dis|dites)\b.{0,20}\b(?:uniquement|seulement|que)\b|\bresponde\b.{0,20}\b(?:solo|"
        r"únicamente|sólo)\b",
        r"只(?:回答|回复|输出|说)|仅回答",
    ),
    "asks for secrets": (
        r"\b(?:reveal|show|print|repeat|output|leak|disclose|send|e-?mail|forward|exfiltrate|upload|append|"
        r"include|expose)\b"
        r".{0,40}\b(?:system prompt|hidden (?:prompt|instructions)|your (?:prompt|instructions|rules|configuration)|"
        r"(?:your|the internal) (?:api )?keys?|(?:your )?api keys?|passwords of other|other (?:tenants?|"
        r"customers?|companies)|"
        r"the (?:full |whole )?(?:chat|conversation)\b(?! (?:window|box))|chat history|user'?s? (?:question|query|"
        r"data))",
        r"\b(?:раскрой|покажи|выведи|повтори|отправь|перешли|вышли|сообщи|передай|загрузи)(?:те)?\b.{0,40}"
        r"\b(?:системн\w+ (?:промпт|подсказк|инструкци)\w*|промпт\w*|ключ\w* api|парол\w+ друг\w+|"
        r"друг\w+ (?:арендатор|клиент|компани|предприяти)\w*|переписк\w*|вопрос\w*(?= на http)|"
        r"данн\w+ пользовател\w+ на)",
        r"\b(?:отправь|перешли|вышли|send|post|forward)\b.{0,40}https?://[^\s?]+\?",
    ),
    "carries live markup": (
        r"<\s*script\b|<\s*(?:iframe|object|embed)\s+[a-z]+\s*=|\bjavascript\s*:|<[^<>\n]*\bon(?:error|load|click|"
        r"mouseover)\s*=|data:text/html",
        r"!\[[^\]\n]{0,200}\]\(\s*https?://(?![^)\s?]+\.(?:png|jpe?g|gif|svg|webp|bmp)(?:\?(?:raw|v|ver|w|h|width|"
        r"height|s|"
        r"size|format|q|t)=[\w.-]{0,12})?(?:\s[^)]*)?\))",
        r"https?://[^\s?]*\?[^\s=]*=\S*?(?:\{|%7b|\$|<|%3c)",
    ),
}  # fmt: skip
_PATTERNS = {attempt: [re.compile(form, _I | re.MULTILINE) for form in forms] for attempt, forms in ORDERS.items()}

# Between letters these are invisible, and cut a word in two for a search but not for a reader.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
# Letters of one script that look like those of the other, in words that mix both.
LOOKALIKES = str.maketrans("аеорсухіѕјԁԛԝ", "aeopcyxisjdqw")
FIGURES = str.maketrans("013457@$", "oieastas")
MIXED = re.compile(r"\b(?=\w*[^\W\d_])(?=\w*\d)[\w@$]{4,}\b")
SPACED = re.compile(r"(?:\b[^\W_]\s){6,}[^\W_]\b")
# Source: own choice; a sentence of ten words has about 80 signs.
ENCODED = re.compile(r"\b[A-Za-z0-9+/]{24,}={0,2}")
SENTENCE = re.compile(r"(?<=[.!?。；])\s+|\n+")
SOFT_BREAK = re.compile(r"[ \t]*\n(?!\s*(?:\n|[-*#|•]|\d{1,3}[.)]))[ \t]*")
TWO_APART = re.compile(r"\s{2,}")


def order_in(text: str) -> str:
    """Return what a passage attempts by giving orders, empty where it gives none."""
    plain = unicodedata.normalize("NFKC", INVISIBLE.sub("", text))
    for form in _forms(plain):
        for sentence in dict.fromkeys([*SENTENCE.split(form), *SENTENCE.split(SOFT_BREAK.sub(" ", form))]):
            for attempt, patterns in _PATTERNS.items():
                if any(pattern.search(sentence) for pattern in patterns):
                    return attempt
    return ""


def _forms(plain: str) -> Iterator[str]:
    """Yield a text as it stands, and as it reads where letters were exchanged, spaced, turned round or encoded."""
    yield plain
    if (latin := plain.translate(LOOKALIKES)) != plain:
        yield latin
    if MIXED.search(plain):
        yield MIXED.sub(lambda match: match[0].translate(FIGURES), plain)
    if SPACED.search(plain):
        yield SPACED.sub(_closed, TWO_APART.sub("\u2003", plain)).replace("\u2003", " ")
    yield plain[::-1]
    yield from filter(None, (_decoded(match[0]) for match in ENCODED.finditer(plain)))


def _closed(match: re.Match[str]) -> str:
    """Close up spaced letters; wider spaces stay between words."""
    return " ".join(part.replace(" ", "") for part in match[0].split("\u2003"))


def _decoded(text: str) -> str:
    """Return what a run of Base64 says; empty where it says nothing in letters."""
    try:
        said = base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return said if sum(letter.isalpha() or letter.isspace() for letter in said) > len(said) / 2 else ""
