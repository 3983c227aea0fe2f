"""Talks with `homespun serve` through the openai package: whole and streamed replies, models, and errors
as the package expects them.

    pip install openai
    cargo build --release && python tests/oracle/check_openai.py target/release/homespun
"""

import subprocess
import sys
import tempfile

import openai


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "serve", "--model", "builtin", "--state", f"{folder}/state"]
        command += ["--key", f"{folder}/key", "--listen", "127.0.0.1:0", "--max-tokens", "24"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            check(server.stdout.readline().strip())
        finally:
            server.terminate()
        assert server.wait(60) in (0, 143), server.returncode
    print("the openai package", openai.__version__, "is served")


def check(address):
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    asked = dict(model="me", messages=[{"role": "user", "content": "Which tea do you like best?"}])
    whole = client.chat.completions.create(**asked)
    text = whole.choices[0].message.content
    assert text and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    options = {"include_usage": True}
    pieces = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert said.strip() == text, (said, text)
    assert pieces[-1].usage == whole.usage, pieces[-1]
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content.strip() == text
    assert [model.id for model in client.models.list()] == ["builtin"]
    assert client.models.retrieve("builtin").id == "builtin"
    one = client.chat.completions.create(**asked, max_tokens=1)
    assert one.choices[0].finish_reason == "length" and one.usage.completion_tokens == 1
    for wrong, kind in [
        (dict(max_tokens=10**9), openai.BadRequestError),
        (dict(temperature=9), openai.BadRequestError),
        (dict(tools=[{"type": "function", "function": {"name": "x"}}]), openai.BadRequestError),
        (dict(n=2), openai.BadRequestError),
    ]:
        try:
            client.chat.completions.create(**asked, **wrong)
        except kind as error:
            assert error.status_code == 400 and error.body["message"], error.body
        else:
            raise AssertionError(f"{wrong} is not refused")
    try:
        client.models.retrieve("other")
    except openai.NotFoundError as error:
        assert error.param == "model", error
    else:
        raise AssertionError("there is another model")


if __name__ == "__main__":
    main(sys.argv[1])
