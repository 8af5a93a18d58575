"""The one frozen object of settings, and the only reader of the environment.

A misspelt `HDX_*` name or a default secret outside the local profile stops the start.
"""

import os
import secrets
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from configs.oidc import Oidc
from configs.rates import Rates

FOLDER = Path(__file__).parent
ENV_FILE = Path(".env")
DEFAULT_SECRET = "change-me"  # noqa: S105 (a marker that is refused outside the local profile)
# Longest lives of tokens: how long a key that was rotated out must still hold follows from them.
ACCESS_MINUTES_MAX, REFRESH_DAYS_MAX = 15, 30
SECRET_NAMES = ("secret_key", "ml_internal_api_key", "rag_internal_api_key", "ray_auth_token", "mlflow_password")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseWaits(_Section):
    """How long anything waits for PostgreSQL before it is given up as unavailable.

    Units: seconds; `connect_s` for a free connection, and for a new one, `lock_s` for a row that another transaction
        holds, `statement_s` for one statement, `transaction_s` for a whole transaction, a silent server included,
        `long_s` for a transaction that deletes a system with its answers, or reads all tenants' for the models.
    Source: own choice; all end well within the 60 s of a request in `serve_config.yaml`, and the statement of the
        largest document that is taken (50 MB) takes two seconds.
    """

    connect_s: float = Field(5, ge=1, le=60)
    lock_s: float = Field(2, gt=0, le=60)
    statement_s: float = Field(15, gt=0, le=600)
    transaction_s: float = Field(20, gt=0, le=600)
    long_s: float = Field(50, gt=0, le=3600)


class Database(_Section):
    """Where PostgreSQL is; `url` empty means the embedded server that `hdx run` starts.

    Attributes:
        url: `postgresql+psycopg://...`; its role must own the database or be superuser.
        mlflow_url: MLflow's own database; empty means the database `mlflow` of the same server.
        pool_size: Connections a gateway replica keeps.
    """

    url: SecretStr | None = None
    mlflow_url: SecretStr | None = None
    pool_size: int = Field(8, ge=1, le=100)
    waits: DatabaseWaits = DatabaseWaits()


class Retention(_Section):
    """How long rows are kept; older ones are deleted every hour.

    Attributes:
        archive: Where days of readings go before they are deleted, as Parquet: a folder, from HDX_HOME on, or an
            address such as `s3://bucket/hdx` that `pyarrow.fs.FileSystem.from_uri` opens; `off` for nowhere.
        diagnoses_days: Answers with their windows; those that people have spoken of stay, for models learn from them.
            Answers to questions go all, with what was said of them.
        readings_days: Readings by whole days, what was set aside of them, and their summaries; days that were sent late
            are kept as long from then on.
        audit_days: Notes of the audit, since they were sealed; 0 keeps them, and none younger than 30 days is deleted.
        sessions_days: Refresh tokens after their end, so that what became of them can be looked up.

    Source: own choice: a year and a month, so that a machine can be compared with its last year; a month for ended
        sessions. PCI DSS 4.0, 10.5.1, asks for twelve months of an audit.
    """

    archive: SecretStr = Field(SecretStr("archive"), min_length=1)
    diagnoses_days: int = Field(400, ge=1)
    readings_days: int = Field(400, ge=1)
    audit_days: int = Field(0, ge=0)
    sessions_days: int = Field(30, ge=0)

    @field_validator("audit_days", mode="after")
    @classmethod
    def _long_enough(cls, days: int) -> int:
        if 0 < days < 30:
            raise ValueError("must be 0, which keeps all, or at least 30")
        return days


class Redis(_Section):
    """Shared cache; absent, each gateway replica keeps its own in memory."""

    url: SecretStr | None = None


class Tokens(_Section):
    """Lifetimes of credentials.

    Source: RFC 8725 and RFC 9700 (short access tokens, rotated refresh tokens); the minutes are an own choice.
    """

    issuer: str = "hdx"
    audience: str = "hdx-api"
    access_minutes: int = Field(10, ge=1, le=ACCESS_MINUTES_MAX)
    refresh_days: int = Field(7, ge=1, le=REFRESH_DAYS_MAX)


class Limits(_Section):
    """Bounds on what one request may carry.

    Units: `body_bytes`, `document_bytes` and `readings_bytes` bytes, unpacked, too; `file_cells` rows times columns of
        a file of readings, `values` samples a channel, `batch` windows a request; `job_bytes` of a file read as a job,
        `job_memory` of the process that reads it, `jobs` that wait of a tenant, `jobs_bytes` of all their files.
    Source: 10,000 readings of twenty channels are some 8 MB of JSON; 16 MB of CSV have some two million cells, and
        Parquet or a workbook of that size may unpack to a hundred times more; a day of samples at 0.1 Hz is 8,640
        values; the quickstart's own largest body is under 1 kB.
    """

    body_bytes: int = 1_000_000
    document_bytes: int = 50_000_000
    readings_bytes: int = 16_000_000
    job_bytes: int = Field(256_000_000, ge=1)
    job_memory: int = Field(6 * 2**30, ge=3 * 2**29)
    jobs: int = Field(20, ge=1)
    jobs_bytes: int = Field(1_000_000_000, ge=1)
    file_cells: int = Field(4_000_000, ge=1000)
    values: int = Field(10_000, ge=3)
    values_min: int = Field(3, ge=1)
    batch: int = Field(256, ge=1)


class Documents(_Section):
    """What reading one document may take; it is read in a process of its own, which is killed when it passes a bound.

    Attributes:
        readers: Processes at once for what is quickly read, and as many more for what is not; a tenant never has all of
            either, unless there is but one.

    Units: `read_s` seconds of a processor, `memory_bytes` of the process with its libraries, `unpacked_bytes` bytes of
        an archive's parts together, and of all that is read from them.
    Source: own choice; a manual of 300 pages with tables takes half a minute and 300 MB.
    """

    readers: int = Field(2, ge=1, le=64)
    read_s: int = Field(60, ge=1, le=3600)
    memory_bytes: int = Field(512 << 20, ge=128 << 20)
    unpacked_bytes: int = Field(200_000_000, ge=1_000_000)


class MicroBatch(_Section):
    """How many waiting requests the gateway sends down the graph at once."""

    max_windows: int = Field(512, ge=1)


class Cache(_Section):
    """Answers to a repeated identical window of the same system."""

    ttl_s: float = Field(60, ge=0)
    entries: int = Field(10_000, ge=1)


class Knowledge(_Section):
    """Encoder, index and generator of the assistant.

    Attributes:
        encoder_path: Folder of a sentence-transformers model; empty means the pinned built-in ones.
        encoder_multilingual: Says that the model at `encoder_path` reads Russian; the built-in ones always search it by
            vector, too.
        device: `cpu` or `cuda`, where the model at `encoder_path` computes.
        generator: `extractive` needs no model; `openai` calls any OpenAI-compatible server at `openai_url`; `vllm` runs
            `vllm_model` in the graph (extra `vllm`).
        vllm_model: Folder of a model, or its name on a model hub.
        vllm_accelerator: Ray's name of the GPU, such as `L4`; empty means vLLM's CPU build.
        vllm_engine: Arguments of vLLM's engine, such as `{"max_model_len": 8192}`.
    """

    encoder_path: str = ""
    encoder_multilingual: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    generator: Literal["extractive", "openai", "vllm"] = "extractive"
    openai_url: str = ""
    openai_model: str = ""
    openai_key: SecretStr | None = None
    vllm_model: str = ""
    vllm_accelerator: str = ""
    vllm_engine: dict[str, Any] = {}
    vllm_replicas: int = Field(1, ge=1, le=64)
    timeout_s: float = Field(20, gt=0)

    @model_validator(mode="after")
    def _names_its_model(self) -> "Knowledge":
        if self.generator == "vllm" and not self.vllm_model:
            raise ValueError("generator vllm: set HDX_KNOWLEDGE__VLLM_MODEL")
        return self


class Logs(_Section):
    """How much of `logs/hdx.jsonl` is kept: `files` of up to `file_bytes`, the one being written included.

    Source: own choice; a request's line is some 300 bytes, so the last million requests are kept.
    """

    file_bytes: int = Field(64 << 20, ge=1 << 10)
    files: int = Field(5, ge=1, le=100)


class Models(_Section):
    """Where trained versions come from.

    Attributes:
        owner: Tenant whose administrators move the models that all tenants share.
        simulated_machines: How many a training draws that is given no recordings. Source: faults of 30 % missed at 5 %
            false alarms on unseen machines of the same physics 0.27, 0.19, 0.18 and 0.16 with 60, 120, 240 and 480
            machines, of other physics 0.61, 0.57, 0.50 and 0.46; the time of a training grows with it.
        signers: Public keys of others whose signatures on versions count beside those by `HDX_SECRET_KEY`: 64 hex
            digits each, as `hdx sign --key` prints them.

    Units: `poll_s` seconds between two looks at the registry's alias, `own_poll_s` at which tenants have own models.
    """

    alias: str = "champion"
    signers: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...] = ()
    owner: str = "demo"
    simulated_machines: int = Field(240, ge=12, le=10_000)
    poll_s: float = Field(2, gt=0)
    own_poll_s: float = Field(15, gt=0)
    quorum: int = Field(2, ge=1, description="Fewest detectors whose votes make an answer")
    vote_timeout_s: float = Field(5, gt=0)


class Graph(_Section):
    """Where the graph's parts live, and what one replica reserves of a node.

    Attributes:
        placement: `spread` gives ensemble and detectors replicas of their own; `packed` puts them into the gateway's.

    Units: `*_cpus`, `*_gpus` in Ray's logical resources; fractions share a device.
    """

    placement: Literal["spread", "packed"] = "spread"
    replica_cpus: float = Field(0.1, ge=0)
    encoder_gpus: float = Field(0, ge=0)
    generator_gpus: float = Field(0, ge=0)


class Settings(BaseSettings):
    """All settings of HDX, from `configs/base.yaml`, the profile's YAML, `.env` and `HDX_*`, the last one winning.

    Raises:
        pydantic.ValidationError: A value breaks its rule, a name is unknown, or a default secret is left in a
            profile other than `local`.
    """

    model_config = SettingsConfigDict(
        env_prefix="HDX_", env_nested_delimiter="__", env_file=ENV_FILE, frozen=True, extra="forbid"
    )

    profile: Literal["local", "production"] = "local"
    home: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    mlflow_port: int = Field(5000, ge=1, le=65535)
    dashboard_port: int = Field(8265, ge=1, le=65535)
    ray_port: int = Field(6379, ge=1, le=65535)
    metrics_port: int = Field(8999, ge=1, le=65535)
    ray_client_port: int = Field(10001, ge=1024, le=65535)
    ray_agent_port: int = Field(52365, ge=1, le=65535)
    haproxy: bool = Field(True, description="HAProxy before the gateway where it is installed; else Ray's own proxy")
    haproxy_stats_port: int = Field(8404, ge=1, le=65535)
    haproxy_metrics_port: int = Field(9101, ge=1, le=65535)
    mlflow_url: str = ""
    mlflow_username: str = Field("hdx", pattern="^[^:]+$")
    secret_key: SecretStr = SecretStr(DEFAULT_SECRET)
    ml_internal_api_key: SecretStr = SecretStr(DEFAULT_SECRET)
    rag_internal_api_key: SecretStr = SecretStr(DEFAULT_SECRET)
    ray_auth_token: SecretStr = SecretStr(DEFAULT_SECRET)
    mlflow_password: SecretStr = SecretStr(DEFAULT_SECRET)
    admin_username: str = "admin"
    admin_email: str = "admin@example.com"
    admin_password: SecretStr | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    logs: Logs = Logs()
    database: Database = Database()
    retention: Retention = Retention()
    redis: Redis = Redis()
    tokens: Tokens = Tokens()
    oidc: Oidc = Oidc()
    limits: Limits = Limits()
    rates: Rates = Rates()
    documents: Documents = Documents()
    micro_batch: MicroBatch = MicroBatch()
    cache: Cache = Cache()
    knowledge: Knowledge = Knowledge()
    models: Models = Models()
    graph: Graph = Graph()

    @property
    def tracking_url(self) -> str:
        """Address of the MLflow server."""
        return self.mlflow_url or f"http://{self.host}:{self.mlflow_port}"

    @property
    def archive_url(self) -> str | None:
        """Folder or address of the archive of readings; None where there shall be none."""
        where = self.retention.archive.get_secret_value()
        if where == "off":
            return None
        return where if "://" in where else str(self.home / Path(where).expanduser())

    @property
    def unset_secrets(self) -> tuple[str, ...]:
        """Names, as `.env` has them, of secrets that are left as shipped."""
        left = [name for name in SECRET_NAMES if getattr(self, name).get_secret_value() == DEFAULT_SECRET]
        return tuple(f"HDX_{name.upper()}" for name in left)

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        # Replicas run in other folders than the command that started them.
        return home.expanduser().resolve()

    @model_validator(mode="after")
    def _no_default_secret_in_production(self) -> "Settings":
        if self.profile != "local" and self.unset_secrets:
            raise ValueError(f"profile {self.profile}: set {', '.join(self.unset_secrets)}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, `.env`, the profile's YAML, base YAML."""
        named = {**dotenv_settings(), **env_settings(), **init_settings()}
        profile = str(named.get("profile", "local"))
        files = [FOLDER / "base.yaml", FOLDER / f"{profile}.yaml"]
        yaml_settings = YamlConfigSettingsSource(settings_cls, yaml_file=files, deep_merge=True)
        return init_settings, env_settings, dotenv_settings, yaml_settings


def unknown_names(names: list[str]) -> list[str]:
    """Return the `HDX_*` names among `names` that no setting answers to."""
    unknown = []
    for name in sorted(names):
        path = name.removeprefix("HDX_").lower().split("__")
        model: type[BaseModel] | None = Settings
        for step in path:
            field = model.model_fields.get(step) if model else None
            if field is None:
                unknown.append(name)
                break
            kind = field.annotation
            model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    return unknown


def read_settings() -> Settings:
    """Read all settings once, at start.

    Raises:
        ValueError: An `HDX_*` name in the environment is unknown, or a value breaks its rule.
    """
    unknown = unknown_names([name for name in os.environ if name.startswith("HDX_")])
    if unknown:
        raise ValueError(f"unknown setting in the environment: {', '.join(unknown)}")
    return Settings()


def environment(**changes: str) -> dict[str, str]:
    """Return `.env`, this process's environment and `changes`, the last one winning, for a process to start."""
    named = {name: value for name, value in dotenv_values(ENV_FILE).items() if value is not None}
    return {**named, **os.environ, **changes}


def new_secrets() -> dict[str, str]:
    """Return fresh values for every secret, by the name `.env` gives it."""
    return {f"HDX_{name.upper()}": secrets.token_hex(32) for name in SECRET_NAMES}


@cache
def version() -> str:
    """Return the installed version of HDX."""
    from importlib.metadata import version as installed

    return installed("hdx")
