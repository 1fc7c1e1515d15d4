"""What stands behind the words that a server says no with, or does not start with. The HTTP API uses them as `code`."""

from luthier.knowledge.advice import Advice

SERVING: dict[str, Advice] = {
    "env-port": Advice(
        "Another program listens on 8000.",
        "Choose a free one: `luthier serve RUN serve.port=8001`; `serve.port=0` takes any.",
    ),
    "env-keys": Advice(
        "A keys file that was edited by hand, or cut off by a full disk.",
        "Put it back from a copy. Without one, move it away and make new keys: `luthier keys new NAME`. Keys that clients hold"
        " are then refused: the file has their hashes only, and none can be made from what is left.",
    ),
    "env-audit": Advice(
        "Two servers with one audit log; a log that is a folder or a link; a log whose last lines are no records.",
        "Give each server a log of its own: `serve.audit.path`. `luthier audit verify FILE` says from which line a log is no"
        " chain; move it away to begin a new one.",
    ),
    "api-body": Advice(
        "An empty body; a cut one; `NaN`; bytes that are not UTF-8.",
        "Send one JSON object in UTF-8, as OpenAI's clients do.",
    ),
    "api-type": Advice(
        "A form; `Content-Encoding: gzip`.",
        "Send `Content-Type: application/json`, not compressed.",
    ),
    "api-size": Advice(
        "A body of 10 MB; a header of 64 kB.",
        "Shorten the request; `serve.bounds.most_body_bytes` is the bound of a body.",
    ),
    "api-depth": Advice(
        "A JSON schema nested a thousand levels deep.",
        "Flatten it: 32 levels are taken.",
    ),
    "api-field": Advice(
        "`max_tokens: 0`; `temperature: 'hot'`; a field that OpenAI does not know.",
        "`param` names the field and the message its bounds.",
    ),
    "api-unsupported": Advice(
        "`response_format` of a JSON schema on Luthier's own generator.",
        "Leave the field out, or serve the model on an engine that can: `luthier serve FILE.gguf`.",
    ),
    "api-template": Advice(
        "A system message where the template takes none.",
        "Send a conversation as the model was trained on; the message says what the template refused.",
    ),
    "api-context": Advice(
        "A prompt of 3,000 tokens for a context of 2,048.",
        "Shorten the conversation or lower `max_tokens`; the message has both numbers.",
    ),
    "api-model": Advice(
        "`model: 'gpt-4'`.",
        "Take a name from `GET /v1/models`.",
    ),
    "api-path": Advice(
        "`POST /v1/embeddings`.",
        "`GET /openapi.json` lists what there is.",
    ),
    "api-method": Advice(
        "`GET /v1/chat/completions`.",
        "Take the method that the `Allow` header names.",
    ),
    "api-host": Advice(
        "A page of another site that asks a server on your machine.",
        "Name the host that clients use: `luthier serve RUN 'serve.hosts=[NAME]'`.",
    ),
    "api-key": Advice(
        "No `Authorization: Bearer` header; a key that was withdrawn.",
        "Send a key that the server's owner gave you.",
    ),
    "api-busy": Advice(
        "More requests at once than the queue holds.",
        "Come again after the seconds in `Retry-After`; OpenAI's clients do so by themselves.",
    ),
    "api-draining": Advice(
        "A request while the server is shut down.",
        "Come again after the seconds in `Retry-After`.",
    ),
    "api-timeout": Advice(
        "A client that sends a byte a second; an answer that takes longer than `serve.queue.longest_request_s`.",
        "Send the request whole; ask for fewer tokens.",
    ),
    "api-engine": Advice(
        "The engine's process was ended from outside.",
        "Come again: it is started anew. If it stays so, the server's log says why.",
    ),
    "api-limit": Advice(
        "The eleventh request of a minute with a key that has ten.",
        "Wait as long as `Retry-After` says; `x-ratelimit-remaining-requests` and `-tokens` tell what is left. The limits of a key"
        " are given with it: `luthier keys new NAME --requests-per-minute 600`.",
    ),
    "api-filter": Advice(
        "A prompt with a word of `serve.filter.words`, or with a card number where personal data is refused.",
        "Take it out of the request. What is looked for is the operator's choice: the section `serve.filter` of the recipe.",
    ),
    "api-moderator": Advice(
        "The service of `serve.filter.moderator.url` is down, or took longer than `serve.filter.moderator.timeout_s`.",
        "Start it again. With `serve.filter.on_failure=pass` requests go unjudged while it is away, and the audit log says so.",
    ),
    "api-audit": Advice(
        "The disk of the audit log is full.",
        "Make room; the server goes on by itself with the next request. The log notes what was cut off.",
    ),
}
