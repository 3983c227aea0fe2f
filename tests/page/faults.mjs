// Faults that are put into the page to see that the check finds them, each with what it must say.

export const FAULTS = {
  "text read as markup": {
    change: (html) => html.replace("node.textContent = text;\n  return node;", "node.innerHTML = text;\n  return node;"),
    found: /text was read as markup|text was run|request failed|policy/,
  },
  "a button without a name": {
    change: (html) => html.replace(">Send</button>", "></button>"),
    found: /without a name: button/,
  },
  "something of another site": {
    change: (html) => html.replace("</title>", '</title><link rel="stylesheet" href="http://127.0.0.1:9/x.css">'),
    found: /policy|another origin/,
  },
  "a handler in the markup": {
    change: (html) => html.replace('<button type="submit" class="main" id="send">', '<button type="submit" class="main" id="send" onfocus="1">'),
    found: /policy|console/,
  },
  "wider than a phone": {
    change: (html) => html.replace("</style>", ".hello { min-width: 400px; }</style>"),
    found: /pixels too wide/,
  },
  "too pale to read": {
    change: (html) => html.replace("--soft: #665f54", "--soft: #b5aea2"),
    found: /color-contrast/,
  },
  "a focus that is not seen": {
    change: (html) => html.replace(":focus-visible { outline: 3px solid", ":focus-visible { outline: 0 solid"),
    found: /focus on .* is not seen/,
  },
  "an error that is not caught": {
    change: (html) => html.replace("function newTalk() {", "function newTalk() { setTimeout(() => null.x);"),
    found: /script: /,
  },
  "a talk that forgets the better reply": {
    change: (html) => html.replace("messages[index].content = answer.preferred;", ""),
    found: /goes on from the better reply/,
  },
};
