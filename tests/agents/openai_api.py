"""A stand-in of OpenAI's Responses API, as far as codex uses it."""
import json

import api

#: The tool that runs a command, by its names so far, with its argument.
SHELLS = {
    "exec_command": lambda command: {"cmd": command},
    "shell_command": lambda command: {"command": command},
    "shell": lambda command: {"command": ["bash", "-c", command]},
}


def message_of(item):
    """(role, text) of an item of the conversation; a call or result of a tool is shown in the text."""
    kind = item.get("type", "message")
    if kind == "message":
        content = item.get("content")
        if not isinstance(content, str):
            content = "\n".join(part.get("text", "") for part in content or [])
        return item["role"], content
    if kind.endswith("_output"):
        output = item.get("output")
        return "tool", output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    if kind == "reasoning":
        return "assistant", "\n".join(part.get("text", "") for part in item.get("summary") or [])
    return "assistant", f"[{item.get('name') or kind} {item.get('arguments') or item.get('input')}]"


class Handler(api.Handler):
    def post(self, path, body):
        if not path.endswith("/responses"):
            return self.send_json({"error": {"message": path}}, 404)
        request = api.Request([message_of(item) for item in body["input"]], body)
        self.answer(body, self.script.take(request))

    def answer(self, body, answer):
        tools = {tool.get("name") for tool in body.get("tools") or []}
        items = [self.item(tools, *block) for block in answer.blocks]
        response = {"id": f"resp_mock{self.script.number():06d}", "object": "response", "created_at": 0,
                    "status": "in_progress", "model": body.get("model"), "output": []}
        self.begin_events()
        self.send_event("response.created", response=response)
        for index, item in enumerate(items):
            self.send_item(index, item)
        if answer.hold:
            answer.hold.wait(120)
        usage = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 10,
                 "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110}
        self.send_event("response.completed",
                        response=dict(response, status="completed", output=items, usage=usage))

    def item(self, tools, kind, text):
        number = self.script.number()
        if kind == "think":
            return {"type": "reasoning", "id": f"rs_mock{number:06d}", "content": None,
                    "summary": [{"type": "summary_text", "text": text}],
                    "encrypted_content": f"gAAAA-mock-{number:06d}"}
        if kind == "shell":
            name = next(name for name in SHELLS if name in tools)
            return {"type": "function_call", "id": f"fc_mock{number:06d}", "call_id": f"call_mock{number:06d}",
                    "name": name, "arguments": json.dumps(SHELLS[name](text)), "status": "completed"}
        return {"type": "message", "id": f"msg_mock{number:06d}", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}]}

    def send_item(self, index, item):
        if item["type"] != "message":
            self.send_event("response.output_item.added", output_index=index, item=item)
        else:
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            text = item["content"][0]["text"]
            self.send_event("response.output_item.added", output_index=index,
                            item=dict(item, content=[], status="in_progress"))
            self.send_event("response.content_part.added", **place,
                            part={"type": "output_text", "text": "", "annotations": []})
            self.send_event("response.output_text.delta", **place, delta=text)
            self.send_event("response.output_text.done", **place, text=text)
            self.send_event("response.content_part.done", **place, part=item["content"][0])
        self.send_event("response.output_item.done", output_index=index, item=item)
