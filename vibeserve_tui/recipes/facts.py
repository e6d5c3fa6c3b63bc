"""What a recipe may ask about: the schema of every name an expression can read.

Plain frozen values, filled in once per plan by the engine. `None` always means "not known", never "no": an
expression that needs it is then unknown itself, and the recipe is not applicable for exactly that reason.
A field added here becomes readable in recipes; there is no other way to widen the language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

METRIC_NAMES = frozenset(
    {
        "request_throughput", "output_throughput", "total_token_throughput", "request_goodput", "peak_rss_mib",
        "cpu_ms_per_token", "error_rate",
        *(f"{stat}_{what}_ms" for stat in ("mean", "median", "p90", "p95", "p99") for what in ("ttft", "tpot", "itl", "e2el")),
    }
)  # fmt: skip
"""Keys of the load generator's report; a target's headline and guards are among them."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The served model, read from the target and the model's own configuration."""

    architecture: str | None = None
    """transformers' model_type, e.g. "llama"."""
    attention: str | None = None
    """"full" | "sliding" | "hybrid" | "none"."""
    layers: int | None = None
    recurrent_layers: int | None = None
    hidden: int | None = None
    ffn: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocab: int | None = None
    max_context: int | None = None
    parameters: int | None = None
    weights_mib: float | None = None
    tied_embeddings: bool | None = None
    format: str | None = None
    dtype: str | None = None
    """Dtype of the truth, e.g. "float32"."""
    exact_in: str | None = None
    """A narrower dtype that holds every weight without loss; "" when there is none."""


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """The target's traffic; lengths are in tokens."""

    kind: str | None = None
    """chat | text | shared_prefix | predicted_edit | json_schema | audio_stream | image | program."""
    min_concurrency: int | None = None
    max_concurrency: int | None = None
    max_prompt_len: int | None = None
    p50_prompt_len: int | None = None
    max_output_len: int | None = None
    max_total_len: int | None = None
    p99_total_len: int | None = None
    shared_prefix_tokens: int | None = None
    has_draft: bool | None = None
    """Requests carry a predicted output."""
    schemas: int | None = None
    """How many distinct JSON schemas the requests name; 0 = unconstrained text."""
    temperature: float | None = None
    ignore_eos: bool | None = None
    streams: bool | None = None
    max_tokens_per_chunk: int | None = None


@dataclass(frozen=True, slots=True)
class HardwareFacts:
    """The machine as the candidate's box sees it."""

    cores: int | None = None
    memory_mib: int | None = None
    llc_mib: float | None = None
    """Last-level cache."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The accelerator (or processor) that the backend detected; capabilities are asked with `has('avx2')`."""

    name: str | None = None
    vendor: str | None = None
    memory_mib: int | None = None
    compute_units: int | None = None
    unified: bool | None = None
    capabilities: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """Where the champion's time goes. Shares of a perturbed profile are unknown: it only orders suspects."""

    usable: bool | None = None
    observer_effect: float | None = None
    hints: tuple[str, ...] | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    """Phase or operator name to its share of the window, 0..1."""


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What the target allows and wants."""

    name: str | None = None
    modality: str | None = None
    accuracy: str | None = None
    """"exact" | "numeric" | "quantised"."""
    headline: str | None = None
    forbids: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything known when a plan is made; see the module docstring for `None`."""

    model: ModelFacts = field(default_factory=ModelFacts)
    workload: WorkloadFacts = field(default_factory=WorkloadFacts)
    hw: HardwareFacts = field(default_factory=HardwareFacts)
    device: DeviceFacts = field(default_factory=DeviceFacts)
    backend: str | None = None
    profile: ProfileFacts = field(default_factory=ProfileFacts)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The champion's latest figures at the headline level."""
    target: TargetFacts = field(default_factory=TargetFacts)
    tools: frozenset[str] | None = None
    """Tools that were run and answered, e.g. "cxx"."""
    capabilities: frozenset[str] | None = None
    """What the candidate's tree provides, asked with `provides('engine.runner')`."""


def _names(
    cls: type[ModelFacts | WorkloadFacts | HardwareFacts | DeviceFacts | ProfileFacts | TargetFacts],
) -> frozenset[str]:
    # A mapping is read through a function that knows what a missing key means.
    return frozenset(f.name for f in fields(cls)) - {"shares"}


ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "model": _names(ModelFacts),
    "workload": _names(WorkloadFacts),
    "hw": _names(HardwareFacts),
    "device": _names(DeviceFacts),
    "profile": _names(ProfileFacts),
    "metrics": METRIC_NAMES,
    "target": _names(TargetFacts),
}
"""Name to the attributes an expression may read of it. `backend` is a plain word, `params` differs by recipe."""
