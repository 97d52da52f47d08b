"""A stand-in of Anthropic's Messages API, as far as Claude Code uses it."""
import json
import re

import api

#: Requests beside the conversation: titles, suggestions, probes of the quota.
ASIDE = re.compile(r"\[SUGGESTION MODE|^quota$|isNewTopic|Generate a concise.*title|away summary", re.S)


def text_of(content):
    """The text of a message's content; a call or result of a tool is shown in it."""
    if isinstance(content, str):
        return content
    texts = []
    for block in content or []:
        kind = block.get("type")
        if kind == "text":
            texts.append(block["text"])
        elif kind == "thinking":
            texts.append(block["thinking"])
        elif kind == "tool_use":
            texts.append(f"[{block['name']} {json.dumps(block['input'], ensure_ascii=False)}]")
        elif kind == "tool_result":
            texts.append(text_of(block.get("content")))
    return "\n".join(texts)


class Handler(api.Handler):
    def post(self, path, body):
        if path == "/v1/messages/count_tokens":
            return self.send_json({"input_tokens": 100})
        if path != "/v1/messages":
            return self.send_json({"type": "error", "error": {"type": "not_found_error", "message": path}}, 404)
        request = api.Request([(m["role"], text_of(m["content"])) for m in body["messages"]], body)
        last = next((text for role, text in reversed(request.messages) if role == "user"), "")
        if not body.get("tools") or ASIDE.search(last):
            answer = api.Answer("", [api.say("Aside")])
        else:
            answer = self.script.take(request)
        self.answer(body, answer)

    def answer(self, body, answer):
        blocks = [self.block(*block) for block in answer.blocks]
        stop = "tool_use" if any(b["type"] == "tool_use" for b in blocks) else "end_turn"
        usage = {"input_tokens": 100, "output_tokens": 10}
        message = {
            "id": f"msg_mock{self.script.number():06d}", "type": "message", "role": "assistant",
            "model": body.get("model"), "content": blocks, "stop_reason": stop, "stop_sequence": None,
            "usage": usage}
        if not body.get("stream"):
            return self.send_json(message)
        self.begin_events()
        self.send_event("message_start", message=dict(message, content=[], stop_reason=None))
        for index, block in enumerate(blocks):
            self.send_block(index, block)
        if answer.hold:
            answer.hold.wait(120)
        self.send_event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage=usage)
        self.send_event("message_stop")

    def block(self, kind, content):
        if kind == "think":
            return {"type": "thinking", "thinking": content, "signature": "c2lnbmF0dXJl"}
        if kind == "shell":
            content = {"name": "Bash", "input": {"command": content, "description": "Runs a command"}}
        if kind in ("shell", "call"):
            return {"type": "tool_use", "id": f"toolu_mock{self.script.number():06d}", **content}
        return {"type": "text", "text": content}

    def send_block(self, index, block):
        kind = block["type"]
        if kind == "thinking":
            empty = {"type": kind, "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": block["thinking"]},
                      {"type": "signature_delta", "signature": block["signature"]}]
        elif kind == "tool_use":
            empty = dict(block, input={})
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        else:
            empty = {"type": kind, "text": ""}
            deltas = [{"type": "text_delta", "text": block["text"]}]
        self.send_event("content_block_start", index=index, content_block=empty)
        for delta in deltas:
            self.send_event("content_block_delta", index=index, delta=delta)
        self.send_event("content_block_stop", index=index)
