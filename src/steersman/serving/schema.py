"""What requests hold: the fields of the OpenAI API that mean something here, and `steering`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MOST_STEPS = 32
"""Directions of one request."""
LARGEST = 2**63 - 1

Text = Annotated[str, Field(max_length=1_000_000)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]
Ids = Annotated[list[Annotated[int, Field(ge=0, le=LARGEST)]], Field(min_length=1, max_length=1_000_000)]
Place = Annotated[int, Field(ge=-10_000, le=10_000)] | Annotated[str, Field(max_length=40)]


class Known(BaseModel):
    """Refuses fields that it does not know, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class GateAsked(Known):
    """Steer only where a direction's reading is high."""

    direction: str = Field(max_length=200, description="name of a direction, as /v1/steering lists it")
    threshold: float = Field(description="in the units of the measure; it fires above")
    when: Literal["prompt", "token"] = "prompt"
    measure: Literal["projection", "cosine"] = "projection"
    below: bool = Field(False, description="fire where the reading is not above the threshold")
    layer: Place | None = Field(None, description="where it reads; where the step acts, if not given")


class StepAsked(Known):
    """One direction and how it steers."""

    direction: str = Field(max_length=200, description="name of a direction, as /v1/steering lists it")
    coefficient: float | None = Field(None, description="in the unit; what the direction recommends, if not given")
    unit: Literal["norm", "raw"] = "norm"
    span: str = Field("all", max_length=2000, description="all, prompt, generated, last, first(k), positions(i,j), ...")
    layer: Place | list[Place] | None = Field(
        None, description="layers or sites; what the direction recommends, or its only one, if not given"
    )
    edit: Literal["add", "add_keeping_norm", "ablate", "clamp", "rotate"] = "add"
    value: float | None = Field(None, description="of clamp")
    side: Literal["both", "above", "below"] | None = Field(None, description="of clamp")
    degrees: float | None = Field(None, description="of rotate")
    toward: str | None = Field(None, max_length=200, description="of rotate: the direction that is turned to")
    gate: GateAsked | None = None


class PlanAsked(Known):
    """A whole plan."""

    plan: str = Field(max_length=100_000_000, description="the content of a plan file (.safetensors), in base64")


Steering = Annotated[list[StepAsked], Field(max_length=MOST_STEPS)] | PlanAsked


class StreamOptions(Known):
    """What a stream tells besides."""

    include_usage: bool = False


class Asked(Known):
    """What both kinds of completions share."""

    model: str = Field(max_length=500)
    n: int = Field(1, ge=1, le=1024)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-LARGEST - 1, le=LARGEST)
    temperature: float | None = Field(None, ge=0, le=2, description="0, if not given: greedy")
    top_p: float | None = Field(None, gt=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.01, le=100)
    max_tokens: int | None = Field(None, ge=1, le=LARGEST)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = Field(None, ge=0, le=0, description="0; none other is supported")
    presence_penalty: float | None = Field(None, ge=0, le=0, description="0; none other is supported")
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    user: str | None = Field(None, max_length=1000, description="not looked at")
    steering: Steering | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop texts."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @model_validator(mode="after")
    def _streams(self) -> Any:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream only")
        return self


class Part(Known):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class Message(Known):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[Part], Field(min_length=1, max_length=1000)]
    name: str | None = Field(None, max_length=200, description="not looked at")

    @property
    def text(self) -> str:
        """All that it says."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ResponseFormat(Known):
    """Text, which is the only one."""

    type: Literal["text"]


class ChatAsked(Asked):
    """A chat that is to go on."""

    messages: list[Message] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=LARGEST)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None

    @field_validator("messages")
    @classmethod
    def _user_last(cls, messages: list[Message]) -> list[Message]:
        if messages[-1].role == "assistant":
            raise ValueError("the last message has to be a user's, and it is the assistant's")
        return messages

    @model_validator(mode="after")
    def _one_limit(self) -> Any:
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs only")
        return self

    @property
    def limit(self) -> int | None:
        """Tokens of an answer at most, where that is said."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def likeliest(self) -> int | None:
        """How many most likely tokens are wanted beside each; `None` where no log-probability is."""
        return (self.top_logprobs or 0) if self.logprobs else None


class TextAsked(Asked):
    """A text that is to go on."""

    prompt: Text | Ids | Annotated[list[Text | Ids], Field(min_length=1, max_length=1024)]
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: Literal[False] | None = False
    suffix: Literal[""] | None = None
    best_of: int | None = Field(None, ge=1, le=1024, description="n; none other is supported")

    @model_validator(mode="after")
    def _best_of_n(self) -> Any:
        if self.best_of not in (None, self.n):
            raise ValueError("best_of other than n is not supported")
        return self

    @property
    def limit(self) -> int | None:
        """Tokens of an answer at most, where that is said."""
        return self.max_tokens

    @property
    def likeliest(self) -> int | None:
        """How many most likely tokens are wanted beside each; `None` where no log-probability is."""
        return self.logprobs

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or several, as text or as tokens."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]  # type: ignore[list-item]
        return list(self.prompt)  # type: ignore[arg-type]


class Fault(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class Faulty(BaseModel):
    """An answer that is none."""

    error: Fault
