"""What the OpenAPI document says of each path: a sentence, and the fields of its body.

Only what every engine agrees on is required; an engine may take more fields than are named.
"""

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_SWITCH: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_TEXTS: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_TOKENS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_MODEL: Schema = {"type": "string", "description": "One of /v1/models; may be left out."}
_MESSAGES: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": _TEXT,
            "content": {
                "anyOf": [_TEXT, {"type": "array", "items": _OBJECT}, {"type": "null"}],
            },
        },
    },
}


def _body(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


_SAMPLING: dict[str, Schema] = {
    "max_tokens": _COUNT,
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "n": _COUNT,
    "seed": {"type": "integer"},
    "stop": _TEXTS,
    "stream": _SWITCH,
    "stream_options": {"type": "object", "properties": {"include_usage": _SWITCH}},
    "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
}
_RERANK = _body(
    ("query", "documents"),
    model=_MODEL,
    query=_TEXT,
    documents={"type": "array", "items": _TEXT, "minItems": 1},
    top_n=_COUNT,
)

SUMMARIES: dict[str, str] = {
    "/v1/chat/completions": "Answer a conversation (OpenAI).",
    "/v1/completions": "Continue a text (OpenAI).",
    "/v1/responses": "Answer a conversation (OpenAI's responses).",
    "/v1/responses/{id}": "A response that the engine keeps.",
    "/v1/responses/{id}/cancel": "Stop a response that is made in the background.",
    "/v1/messages": "Answer a conversation (Anthropic).",
    "/v1/messages/count_tokens": "Count the tokens of a conversation (Anthropic).",
    "/v1/embeddings": "Embed texts (OpenAI).",
    "/v1/rerank": "Order documents by what they have to do with a question.",
    "/rerank": "The same as /v1/rerank.",
    "/v1/ranking": "Order passages by what they have to do with a question (NIM).",
    "/tokenize": "The tokens of a text.",
    "/detokenize": "The text of tokens.",
    "/v1/load_lora_adapter": "Load a LoRA adapter from a folder that the engine can read.",
    "/v1/unload_lora_adapter": "Unload a LoRA adapter.",
    "/v1/models": "The models and adapters that may be asked.",
    "/v1/models/{id}": "One of them.",
    "/v1/metadata": "What is really loaded: profile, sources, digests, engine.",
    "/v1/manifest": "The files that are loaded, with sizes and digests.",
    "/v1/license": "The model's licence.",
    "/v1/version": "The versions of this server and of its interface.",
    "/v1/health/live": "200 while the server runs.",
    "/v1/health/ready": "200 while the engine generates, else 503 with the cause.",
    "/v1/metrics": "Figures for Prometheus.",
    "/openapi.json": "This document.",
    "/docs": "A page that lists all paths.",
}

BODIES: dict[str, Schema] = {
    "/v1/chat/completions": _body(
        ("messages",),
        model=_MODEL,
        messages=_MESSAGES,
        tools={"type": "array", "items": _OBJECT},
        tool_choice={"anyOf": [_TEXT, _OBJECT]},
        response_format=_OBJECT,
        logprobs=_SWITCH,
        top_logprobs={"type": "integer", "minimum": 0, "maximum": 20},
        **_SAMPLING,
    ),
    "/v1/completions": _body(("prompt",), model=_MODEL, prompt=_TEXTS, **_SAMPLING),
    "/v1/responses": _body(
        ("input",),
        model=_MODEL,
        input={"anyOf": [_TEXT, {"type": "array", "items": _OBJECT}]},
        instructions=_TEXT,
        max_output_tokens=_COUNT,
        stream=_SWITCH,
    ),
    "/v1/messages": _body(
        ("messages", "max_tokens"),
        model=_MODEL,
        messages=_MESSAGES,
        system=_TEXTS,
        max_tokens=_COUNT,
        stream=_SWITCH,
        stop_sequences={"type": "array", "items": _TEXT},
    ),
    "/v1/messages/count_tokens": _body(("messages",), model=_MODEL, messages=_MESSAGES),
    "/v1/embeddings": _body(("input",), model=_MODEL, input=_TEXTS),
    "/v1/rerank": _RERANK,
    "/rerank": _RERANK,
    "/v1/ranking": _body(("query", "passages"), model=_MODEL, query=_OBJECT),
    "/tokenize": _body(("prompt",), model=_MODEL, prompt=_TEXT, add_special_tokens=_SWITCH),
    "/detokenize": _body(("tokens",), model=_MODEL, tokens=_TOKENS),
    "/v1/load_lora_adapter": _body(("lora_name", "lora_path"), lora_name=_TEXT, lora_path=_TEXT),
    "/v1/unload_lora_adapter": _body(("lora_name",), lora_name=_TEXT),
}

ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "integer", "null"]},
            },
        }
    },
}
