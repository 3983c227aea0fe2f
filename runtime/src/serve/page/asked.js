// Asked: the dialogue whose reply the model wants to hear about, one at a time.

async function showAsked() {
  const request = await read("GET", "/v1/annotations/next");
  const place = $("request");
  if (request === null) {
    place.replaceChildren(make("div", { class: "empty" },
      make("p", { class: "large", id: "asked-empty", tabindex: "-1" }, "Nothing is asked now."),
      make("p", { class: "quiet" }, "Talk with it; when a reply is worth a question, it comes here.")));
    return;
  }
  const { id, messages, response } = request;
  const answer = async (answer) => {
    // One that left the buffer meanwhile needs no answer.
    await read("POST", `/v1/annotations/${id}`, { answer }).catch((error) => {
      if (error.status !== 404) throw error;
    });
    say({ accept: "Accepted.", skip: "Not now." }[answer] ?? "Saved.");
    look();
    await showAsked();
    ($("asked-question") ?? $("asked-empty")).focus();
  };
  const row = make("div", { class: "row start" },
    button("Accept", () => answer("accept"), { class: "main" }),
    button("Write a better one", () => {
      const leave = () => {
        form.remove();
        row.hidden = false;
        row.children[1].focus();
      };
      const form = betterForm("asked-better", response, answer, leave);
      row.hidden = true;
      card.append(form);
      form.querySelector("textarea").focus();
    }),
    button("Not now", () => answer("skip"), { class: "plain" }));
  const card = make("article", { class: "panel", "aria-labelledby": "asked-question" },
    make("h2", { id: "asked-question", tabindex: "-1" }, "Was this a good reply?"),
    spoken(messages),
    make("div", { class: "reply" }, make("p", { class: "who" }, "The reply"), words("p", response, { class: "text" })),
    row);
  place.replaceChildren(card);
}
