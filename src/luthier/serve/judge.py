"""Judge an understood request against the engine: what it cannot do, and what does not fit its context."""

from luthier.serve.api import ChatRequest, CompletionRequest, text_of
from luthier.serve.engines.engine import EngineFacts, Prepared
from luthier.serve.refusal import Refusal
from luthier.serve.settings import ServerSettings

# OpenAI's default for plain completions.
USUAL_COMPLETION_TOKENS = 16


def judge_abilities(request: ChatRequest | CompletionRequest, facts: EngineFacts) -> None:
    """Refuse what the engine cannot do, by name: a request is answered as asked or not at all."""
    if request.model not in facts.models:
        known = ", ".join(facts.models[:8])
        raise Refusal(404, "api-model", f"there is no model of that name here; there is {known}", "model")
    if isinstance(request, ChatRequest):
        _judge_chat(request, facts)
    elif "ids" not in facts.abilities and not all(isinstance(each, str) for each in request.prompts):
        raise Refusal(400, "api-unsupported", f"the engine {facts.name} takes texts, no ids", "prompt")
    if request.top_count is not None and "logprobs" not in facts.abilities:
        raise Refusal(
            400, "api-unsupported", f"the engine {facts.name} tells no log probabilities", "logprobs"
        )


def _judge_chat(request: ChatRequest, facts: EngineFacts) -> None:
    if request.messages[-1].role == "assistant":
        raise Refusal(
            400, "api-field", "the last message is the assistant's: there is nothing to answer", "messages"
        )
    wanted = request.response_format.type if request.response_format else "text"
    ability = {"json_schema": "schema", "json_object": "json"}.get(wanted)
    if ability is not None and ability not in facts.abilities:
        raise Refusal(
            400,
            "api-unsupported",
            f"the engine {facts.name} cannot hold an answer to {wanted}; llama.cpp and vLLM can",
            "response_format",
        )
    if not request.tools:
        if request.tool_choice not in (None, "none", "auto"):
            raise Refusal(400, "api-field", "tool_choice needs tools", "tool_choice")
        return
    if request.tool_choice not in (None, "none", "auto") and "schema" not in facts.abilities:
        raise Refusal(
            400, "api-unsupported", f"the engine {facts.name} cannot force a call of a tool", "tool_choice"
        )


def longest_answer(
    request: ChatRequest | CompletionRequest,
    prepared: Prepared,
    facts: EngineFacts,
    settings: ServerSettings,
    *,
    most_rows: int,
) -> int:
    """How many tokens each choice may have. Raises Refusal (400 api-context) if prompt and answer do not fit the context."""
    context, prompt, wanted = facts.context_tokens, prepared.longest_prompt, request.most_new_tokens
    bound = settings.most_new_tokens
    if wanted is not None and bound is not None and wanted > bound:
        raise Refusal(
            400,
            "api-field",
            f"{wanted} tokens are more than this server gives, which is {bound}",
            "max_tokens",
        )
    param = "messages" if isinstance(request, ChatRequest) else "prompt"
    if prompt == 0 and facts.abilities >= {"ids"}:
        raise Refusal(400, "api-field", "the prompt holds no token", param)
    if prompt + (wanted or 1) > context:
        raise Refusal(
            400,
            "api-context",
            f"the prompt has {prompt} tokens and the answer may have {wanted or 1}, together more than the model's {context}",
            param,
        )
    rows = request.choices * max(1, len(prepared.prompts))
    if rows > most_rows:
        raise Refusal(400, "api-field", f"{rows} choices are more than the server's {most_rows} at once", "n")
    if wanted is None:
        wanted = USUAL_COMPLETION_TOKENS if isinstance(request, CompletionRequest) else context - prompt
    return min(wanted, context - prompt, bound or context)


def sent_texts(request: ChatRequest | CompletionRequest, prepared: Prepared) -> tuple[str, ...]:
    """Every text that the client sent."""
    if isinstance(request, CompletionRequest):
        return prepared.texts or tuple(each for each in request.prompts if isinstance(each, str))
    texts: list[str] = []
    for message in request.messages:
        texts.append(text_of(message.content))
        calls = message.tool_calls or [] if message.role == "assistant" else []
        texts += [call.function.arguments for call in calls]
    return tuple(text for text in texts if text)
