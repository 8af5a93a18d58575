"""The one tree of errors, and how each one looks from outside.

A caller learns field, value and rule, and nothing internal.

    HdxError                    500 internal
    +-- InvalidInput            422 field, value, rule
    |   +-- OverLimit           422 more than one request takes
    |   +-- KeyReused           422 another request was sent under its idempotency key
    +-- PasswordRefused         422 field, rule; the value is told to nobody
    +-- MalformedBody           400 the body is not JSON
    +-- UnsupportedContent      415 content type
    |   +-- UnsupportedCoding   415 how a body is packed
    +-- TooSlow                 408 the body did not come in time
    +-- TooLarge                413 body or document over its limit
    +-- Unauthenticated         401 no, expired or forged credential
    +-- Forbidden               403 credential lacks the role or key
    +-- NotFound                404 no such thing in this tenant
    +-- Conflict                409 it exists already, or is in use
    |   +-- KeyInUse            409 the first request under an idempotency key is not answered yet
    |   +-- AnswerLost          409 it changed something, and its answer is not known
    +-- UnknownFamily           409 what is stored is of a family that is not shipped
    +-- Overloaded              429 too many requests
    |   +-- QuotaExceeded       429 more of one caller than its quota
    +-- Unavailable             503 a needed part is down
        +-- NoQuorum            503 too few detectors voted
        +-- ArtefactRejected    503 a model file is missing or not the registered one
"""

from typing import ClassVar

CAUSES_MAX = 5  # a Ray error wraps its cause once a hop; the graph is three hops deep


class HdxError(Exception):
    """Root of all errors that HDX raises on purpose."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"


class InvalidInput(HdxError):
    """A value breaks a rule.

    Attributes:
        field: JSON path of the value, such as `sensor_data.pressure[3]`.
        value: What was given, cut to what is safe to show.
        rule: What would be right.
    """

    status, code, title = 422, "invalid-input", "Invalid input"

    def __init__(self, field: str, value: object, rule: str) -> None:
        shown = value if isinstance(value, int | float | bool | None) else str(value)[:80]
        super().__init__(field, shown, rule)
        self.field, self.value, self.rule = field, shown, rule

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}; got {self.value!r}"


class OverLimit(InvalidInput):
    """There is more of something than one request takes; as a job it may be taken all the same."""


class PasswordRefused(HdxError):
    """A new password breaks a rule; what it was is neither shown nor kept.

    Attributes:
        field: JSON path of the password.
        rule: What would be right.
    """

    status, code, title = 422, "invalid-input", "Invalid input"

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(field, rule)
        self.field, self.rule = field, rule

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class KeyReused(InvalidInput):
    """An idempotency key stands for another request."""

    code, title = "idempotency-key-reused", "Idempotency key reused"


class MalformedBody(HdxError):
    """The body cannot be read as JSON."""

    status, code, title = 400, "malformed-body", "Malformed body"

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule

    def __str__(self) -> str:
        return self.rule


class UnsupportedContent(HdxError):
    """The content type is not one this route reads."""

    status, code, title = 415, "unsupported-content", "Unsupported content type"

    def __init__(self, given: str, accepted: str) -> None:
        super().__init__(given, accepted)
        self.given, self.accepted = given[:80], accepted

    def __str__(self) -> str:
        return f"content-type must be {self.accepted}; got {self.given!r}"


class UnsupportedCoding(UnsupportedContent):
    """A body is packed in a way that this route does not unpack."""

    title = "Unsupported content coding"

    def __str__(self) -> str:
        return f"content-encoding must be {self.accepted}; got {self.given!r}"


class TooSlow(HdxError):
    """A body did not come to its end in time; the rest of it is not waited for."""

    status, code, title = 408, "too-slow", "Too slow"

    def __init__(self, limit_s: float) -> None:
        super().__init__(limit_s)
        self.field, self.rule = "body", f"must be complete within {limit_s:g} s"

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class TooLarge(HdxError):
    """Something is over its size limit."""

    status, code, title = 413, "too-large", "Too large"

    def __init__(self, field: str, limit: int) -> None:
        super().__init__(field, limit)
        self.field, self.limit = field, limit

    def __str__(self) -> str:
        return f"{self.field}: must not exceed {self.limit} bytes"


class Unauthenticated(HdxError):
    """There is no credential, or it does not hold."""

    status, code, title = 401, "unauthenticated", "Authentication required"

    def __init__(self, rule: str = "send a valid access token or API key") -> None:
        super().__init__(rule)
        self.rule = rule

    def __str__(self) -> str:
        return self.rule


class Forbidden(HdxError):
    """The credential holds but does not allow this."""

    status, code, title = 403, "forbidden", "Forbidden"

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule

    def __str__(self) -> str:
        return self.rule


class NotFound(HdxError):
    """No such thing in the caller's tenant; another tenant's thing reads the same."""

    status, code, title = 404, "not-found", "Not found"

    def __init__(self, kind: str, key: object) -> None:
        super().__init__(kind, str(key)[:80])
        self.kind, self.key = kind, str(key)[:80]

    def __str__(self) -> str:
        return f"no {self.kind} {self.key}"


class Conflict(HdxError):
    """What is to be made exists already, or what is asked for does not go with what there is."""

    status, code, title = 409, "conflict", "Conflict"

    def __init__(self, field: str, value: object, rule: str = "must not exist already") -> None:
        super().__init__(field, str(value)[:80], rule)
        self.field, self.value, self.rule = field, str(value)[:80], rule

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}; got {self.value!r}"


class KeyInUse(Conflict):
    """The first request under an idempotency key is not answered yet."""

    code, title = "idempotency-key-in-use", "First request still running"
    # Source: own choice; most requests are answered in well under a second.
    retry_after_s: ClassVar[int] = 1


class AnswerLost(Conflict):
    """The first request under an idempotency key changed something, or was about to, and its answer is not known."""

    code, title = "idempotency-answer-lost", "Answer of the first request lost"


class UnknownFamily(HdxError):
    """No family of that name is shipped; a system can outlive its own."""

    status, code, title = 409, "unknown-family", "Family not shipped"
    field: ClassVar[str] = "family"

    def __init__(self, value: str, known: tuple[str, ...]) -> None:
        super().__init__(value, known)
        self.value, self.known = value, known

    @property
    def rule(self) -> str:
        """What would be right."""
        return f"must be one of {', '.join(self.known)}"

    def __str__(self) -> str:
        return f"no family named {self.value!r} is shipped; there are {', '.join(self.known)}"


class Overloaded(HdxError):
    """More requests than the service takes now."""

    status, code, title = 429, "overloaded", "Too many requests"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"try again in {self.retry_after_s} s"


class QuotaExceeded(Overloaded):
    """More requests of one caller than its quota allows.

    Attributes:
        field: The quota, as `RateLimit-Policy` names it.
        limit: Requests a minute.
    """

    code, title = "quota-exceeded", "Quota exceeded"

    def __init__(self, field: str, limit: int, retry_after_s: int) -> None:
        HdxError.__init__(self, field, limit, retry_after_s)
        self.field, self.limit, self.retry_after_s = field, limit, retry_after_s

    @property
    def rule(self) -> str:
        """What would be right."""
        return f"at most {self.limit} requests a minute"

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}; try again in {self.retry_after_s} s"


class Unavailable(HdxError):
    """A part that this answer needs is down."""

    status, code, title = 503, "unavailable", "Temporarily unavailable"

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(part, reason)
        self.part, self.reason = part, reason

    def __str__(self) -> str:
        return f"{self.part}: {self.reason}"


class NoQuorum(Unavailable):
    """Fewer detectors voted than an answer needs."""

    code = "no-quorum"


class ArtefactRejected(Unavailable):
    """A model file is missing, or is not the one that was registered."""

    code = "artefact-rejected"


def cause_of(error: BaseException) -> BaseException:
    """Return the error behind one that crossed Ray: it carries the original as `cause`."""
    for _ in range(CAUSES_MAX):
        inner = getattr(error, "cause", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def reason_of(error: BaseException) -> str:
    """Return why something failed, as callers may read it: of an error that is none of ours its kind alone."""
    error = cause_of(error)
    return str(error) if isinstance(error, HdxError) else f"failed: {type(error).__name__}"
