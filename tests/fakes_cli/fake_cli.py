# ruff: noqa: T201, SIM300, S310 - it prints, and opens only our own loopback address
"""All four coding CLIs in one script: does what its prompt or a model says and reports it as the program it is named after.

A prompt with a <scenario> is played; any other goes to the model at the base URL, turn by turn. Standard library only,
because it runs in a box. It finds tool server, endpoint and system prompt where the real program would find them.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

NAME = Path(sys.argv[0]).name
ARGV = sys.argv[1:]
HOME = Path(os.environ.get({"claude": "CLAUDE_CONFIG_DIR", "codex": "CODEX_HOME"}.get(NAME, "GEMINI_CLI_HOME"), "/"))


def option(name, default=""):
    return ARGV[ARGV.index(name) + 1] if name in ARGV else default


def tools_url():
    match NAME:
        case "claude":
            return json.loads(Path(option("--mcp-config")).read_text())["mcpServers"]["vibeserve"]["url"]
        case "codex":
            return json.loads(next(word for word in ARGV if ".url=" in word).partition("=")[2])
        case "gemini":
            settings = json.loads((HOME / ".gemini" / "settings.json").read_text())
            return settings["mcpServers"]["vibeserve"]["httpUrl"]
        case _:
            return json.loads(os.environ["OPENCODE_CONFIG_CONTENT"])["mcp"]["vibeserve"]["url"]


def base_url():
    match NAME:
        case "claude":
            return os.environ["ANTHROPIC_BASE_URL"]
        case "codex":
            return json.loads(next(word for word in ARGV if ".base_url=" in word).partition("=")[2])
        case "gemini":
            return os.environ["GOOGLE_GEMINI_BASE_URL"]
        case _:
            return json.loads(os.environ["OPENCODE_CONFIG_CONTENT"])["provider"]["vibeserve"]["options"]["baseURL"]


def system_prompt():
    if NAME == "opencode":
        return json.loads(os.environ["OPENCODE_CONFIG_CONTENT"])["agent"]["vibeserve"]["prompt"]
    return (HOME / "system.md").read_text()


def post(url, body):
    key = next((value for value in os.environ.values() if value.startswith("sk-")), "none")
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    headers |= {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def ask_server(method, params):
    return post(tools_url(), {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})["result"]


def call_tool(name, arguments):
    result = ask_server("tools/call", {"name": name, "arguments": arguments})
    return not result.get("isError", False), "\n".join(part["text"] for part in result["content"])


def put(**event):
    print(json.dumps(event), flush=True)


class Claude:
    def start(self):
        put(type="system", subtype="init", session_id="s-1", model="m", tools=["Bash"])

    def ask(self):
        put(type="stream_event", event={"type": "message_start", "message": {"usage": {"output_tokens": 1}}})

    def say(self, text):
        message = {"role": "assistant", "content": [{"type": "text", "text": text}], "usage": {"output_tokens": 1}}
        put(type="assistant", message=message)

    def begin(self, number, name, arguments):
        name = {"run": "Bash", "write": "Write"}.get(name, f"mcp__vibeserve__{name}")
        block = {"type": "tool_use", "id": number, "name": name, "input": arguments}
        put(type="assistant", message={"role": "assistant", "content": [block]})

    def end(self, number, name, arguments, ok, output):
        block = {"type": "tool_result", "tool_use_id": number, "is_error": not ok, "content": output}
        put(type="user", message={"role": "user", "content": [block]})

    def turn(self, fresh, cached, output):
        usage = {"input_tokens": fresh, "cache_read_input_tokens": cached, "output_tokens": output}
        put(type="stream_event", event={"type": "message_delta", "usage": usage})

    def finish(self, fresh, cached, output, error):
        usage = {"m": {"inputTokens": fresh, "cacheReadInputTokens": cached, "outputTokens": output}}
        put(type="result", subtype="success", is_error=bool(error), result=error or "done", modelUsage=usage)


class Codex:
    def start(self):
        put(type="thread.started", thread_id="s-1")
        put(type="turn.started")

    def ask(self):
        pass

    def say(self, text):
        put(type="item.completed", item={"id": "i0", "type": "agent_message", "text": text})

    def begin(self, number, name, arguments):
        put(type="item.started", item=self._item(number, name, arguments, "in_progress"))

    def end(self, number, name, arguments, ok, output):
        item = self._item(number, name, arguments, "completed" if ok else "failed")
        if item["type"] == "mcp_tool_call":
            item["result"] = {"content": [{"type": "text", "text": output}], "structured_content": None}
        else:
            item |= {"aggregated_output": output, "exit_code": 0 if ok else 1}
        put(type="item.completed", item=item)

    def _item(self, number, name, arguments, status):
        if name == "run":
            return {"id": number, "type": "command_execution", "command": arguments["command"], "status": status}
        if name == "write":
            change = {"path": arguments["file_path"], "kind": "add"}
            return {"id": number, "type": "file_change", "changes": [change], "status": status}
        call = {"server": "vibeserve", "tool": name, "arguments": arguments}
        return {"id": number, "type": "mcp_tool_call", "status": status, "result": None, "error": None, **call}

    def turn(self, fresh, cached, output):
        pass

    def finish(self, fresh, cached, output, error):
        if error:
            put(type="turn.failed", error={"message": error})
            return
        usage = {"input_tokens": fresh + cached, "cached_input_tokens": cached, "output_tokens": output}
        put(type="turn.completed", usage=usage)


class Gemini:
    def start(self):
        put(type="init", session_id="s-1", model="m")

    def ask(self):
        pass

    def say(self, text):
        for half in (text[: len(text) // 2], text[len(text) // 2 :]):
            put(type="message", role="assistant", content=half, delta=True)

    def begin(self, number, name, arguments):
        name = {"run": "run_shell_command", "write": "write_file"}.get(name, f"mcp_vibeserve_{name}")
        put(type="tool_use", tool_name=name, tool_id=number, parameters=arguments)

    def end(self, number, name, arguments, ok, output):
        put(type="tool_result", tool_id=number, status="success" if ok else "error", output=output)

    def turn(self, fresh, cached, output):
        pass

    def finish(self, fresh, cached, output, error):
        tokens = {"input_tokens": fresh + cached, "cached": cached, "input": fresh, "output_tokens": output}
        stats = {"total_tokens": fresh + cached + output, **tokens}
        wrong = {"error": {"type": "Error", "message": error}} if error else {}
        put(type="result", status="error" if error else "success", stats=stats, **wrong)


class OpenCode:
    def start(self):
        pass

    def ask(self):
        self._put("step_start", {"type": "step-start"})

    def say(self, text):
        self._put("text", {"type": "text", "text": text})

    def begin(self, number, name, arguments):
        pass

    def end(self, number, name, arguments, ok, output):
        state = {"status": "completed" if ok else "error", "input": arguments, "output" if ok else "error": output}
        name = {"run": "bash"}.get(name, name if name == "write" else f"vibeserve_{name}")
        self._put("tool_use", {"id": number, "tool": name, "state": state})

    def turn(self, fresh, cached, output):
        tokens = {"input": fresh, "output": output, "reasoning": 0, "cache": {"read": cached, "write": 0}}
        self._put("step_finish", {"type": "step-finish", "tokens": tokens, "cost": 0})

    def finish(self, fresh, cached, output, error):
        if error:
            put(type="error", sessionID="s-1", error={"name": "APIError", "data": {"message": error}})

    def _put(self, kind, part):
        put(type=kind, sessionID="s-1", part=part)


class Player:
    """Every step of a scenario is a method; each step that uses a tool is one turn of the model."""

    def __init__(self):
        self.program = {"claude": Claude, "codex": Codex, "gemini": Gemini, "opencode": OpenCode}[NAME]()
        self.spent = [0, 0, 0]
        self.calls = 0

    def play(self, steps):
        self.program.start()
        for step, *arguments in steps:
            getattr(self, step)(*arguments)

    def say(self, text):
        self.program.say(text)

    def run(self, command):
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
        self._report("run", {"command": command}, done.returncode == 0, done.stdout + done.stderr)

    def write(self, path, text):
        try:
            Path(path).write_text(text)
            self._report("write", {"file_path": path}, True, "written")
        except OSError as error:
            self._report("write", {"file_path": path}, False, str(error))

    def tool(self, name, arguments):
        self._report(name, arguments, *call_tool(name, arguments))

    def tell_start(self):
        """What the program was started with, as its own words."""
        self.say(json.dumps({"argv": ARGV, "environment": dict(os.environ)}))

    def tools(self):
        self.say(" ".join(tool["name"] for tool in ask_server("tools/list", {})["tools"]))

    def turn(self, fresh, cached, output):
        self.program.ask()
        self.program.turn(fresh, cached, output)
        self.spent = [a + b for a, b in zip(self.spent, (fresh, cached, output), strict=True)]

    def end(self, error=""):
        self.program.finish(*self.spent, error)

    def leave(self, code):
        sys.exit(code)

    def sleep(self, seconds):
        time.sleep(seconds)

    def slow_tool(self, seconds):
        self.program.begin("slow", "run", {"command": "sleep"})
        time.sleep(seconds)
        self.program.end("slow", "run", {"command": "sleep"}, True, "")

    def chatter(self, seconds):
        for _ in range(int(10 * seconds)):
            self.say("still here")
            time.sleep(0.1)

    def ignore_interrupts(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def leave_child(self, seconds):
        """In a session of its own and deaf to signals, as background commands of a shell tool are."""
        code = (
            f"import signal,time;signal.signal(2,signal.SIG_IGN);signal.signal(15,signal.SIG_IGN);time.sleep({seconds})"
        )
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.DEVNULL)

    def noise(self):
        print("a banner, not JSON", flush=True)
        put(type="an.event.of.next.year", message="?", item=3)
        print("errors go here", file=sys.stderr, flush=True)

    def think(self, prompt):
        """As a real CLI: the model's calls are carried out until it makes none."""
        self.program.start()
        own = {"write": ["path", "text"], "bash": ["command"]}
        tools = [{"name": name, "inputSchema": {"type": "object", "required": needs}} for name, needs in own.items()]
        tools += [tool for tool in ask_server("tools/list", {})["tools"] if tool["name"] not in own]
        body = {
            "model": "m",
            "messages": [{"role": "system", "content": system_prompt()}, {"role": "user", "content": prompt}],
            "tools": [
                {"type": "function", "function": {"name": tool["name"], "parameters": tool["inputSchema"]}}
                for tool in tools
            ],
        }
        while True:
            answer = post(f"{base_url().removesuffix('/v1')}/v1/chat/completions", body)
            message = answer["choices"][0]["message"]
            body["messages"].append(message)
            self.turn(answer["usage"]["prompt_tokens"], 0, answer["usage"]["completion_tokens"])
            if message.get("content"):
                self.say(message["content"])
            for call in message.get("tool_calls") or ():
                text = self._carry_out(call["function"]["name"], json.loads(call["function"]["arguments"]))
                body["messages"].append({"role": "tool", "tool_call_id": call["id"], "content": text})
            if not message.get("tool_calls"):
                break
        self.end()

    def _carry_out(self, name, arguments):
        if name == "bash":
            done = subprocess.run(["/bin/sh", "-c", arguments["command"]], capture_output=True, text=True, check=False)
            result = done.returncode == 0, done.stdout + done.stderr
        elif name == "write":
            path = Path(arguments["path"])
            word = "changed" if path.exists() else "new"
            path.parent.mkdir(parents=True, exist_ok=True)
            result = True, f"{word} {path}: {path.write_text(arguments['text'])} characters"
        else:
            result = call_tool(name, arguments)
        self._report({"bash": "run"}.get(name, name), {**arguments, "file_path": arguments.get("path", "")}, *result)
        return result[1]

    def _report(self, name, arguments, ok, output):
        self.calls += 1
        self.program.begin(f"t{self.calls}", name, arguments)
        self.program.end(f"t{self.calls}", name, arguments, ok, output)


prompt = sys.stdin.read()
told = re.findall(r"<scenario>(.*?)</scenario>", prompt, re.DOTALL)
# A reminder holds no scenario: whatever the session was told to do then stands in a file of its own.
later = Path(HOME if HOME != Path("/") else os.environ["XDG_DATA_HOME"]) / "later.json"
if told:
    first, then = json.loads(told[-1])
    later.parent.mkdir(parents=True, exist_ok=True)
    later.write_text(json.dumps(then))
    Player().play(first)
elif later.exists():
    Player().play(json.loads(later.read_text()))
else:
    Player().think(prompt)
