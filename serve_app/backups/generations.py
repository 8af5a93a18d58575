"""Sees to it that a restore brings back no key that tokens were signed by and that was retired since the backup.

Keys follow from the secret and a generation's number. What began after the backup is in no table any more, so the next
number may be that of a key that has leaked.
"""

from datetime import datetime

from sqlalchemy import text

from serve_app.backups.dumps import connected
from serve_app.store.records import COMMAND_LINE
from serve_app.store.token_keys import BEYOND

# A former key of the backup holds no longer than if the next one had begun right after it: the true one began later.
END_FORMER = text("UPDATE token_keys SET begun_at = LEAST(begun_at, :made_at)")
BEGIN = text(
    f"INSERT INTO token_keys (number, begun_at) SELECT GREATEST(max(number) + 1, {BEYOND}), :made_at "  # noqa: S608
    "FROM token_keys RETURNING number"
)
# A restore that dies after it is repeated.
DONE = text("SELECT 1 FROM audit WHERE tenant_id IS NULL AND action = 'backup.restored' AND subject = :subject LIMIT 1")
NEWEST = text("SELECT max(number) FROM token_keys")
NOTE = text(
    "INSERT INTO audit (tenant_id, actor, action, subject, detail) "
    "VALUES (NULL, :actor, 'backup.restored', :subject, :detail)"
)


def begin_beyond(url: str, made_at: str) -> int:
    """Let a generation sign that never did, and note it in the platform's audit, once; return the newest one's number.

    Args:
        url: Of the database, restored.
        made_at: When the backup was made; ISO 8601.

    Raises:
        Unavailable: The server does not answer.
    """
    with connected(url, "READ COMMITTED") as connection, connection.begin():
        connection.execute(text("SELECT set_config('hdx.platform', 'on', true)"))
        said = {"subject": f"backup of {made_at}"}
        if connection.execute(DONE, said).scalar():
            return int(connection.execute(NEWEST).scalar_one())
        made = {"made_at": datetime.fromisoformat(made_at)}
        connection.execute(END_FORMER, made)
        number = int(connection.execute(BEGIN, made).scalar_one())
        detail = f"token keys of generation {number} sign"
        connection.execute(NOTE, {"actor": COMMAND_LINE, "detail": detail} | said)
    return number
