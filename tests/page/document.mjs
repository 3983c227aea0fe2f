// The document as the server's page.rs joins it, and the policy that goes with a document.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const SERVE = new URL("../../runtime/src/serve/", import.meta.url);

/** Reads the parts in the order in which `concat!` has them. */
export function joined() {
  const source = readFileSync(new URL("page.rs", SERVE), "utf8");
  const list = source.split("pub const PAGE: &str = concat!(")[1].split("\n);")[0];
  const parts = list.matchAll(/include_str!\("([^"]+)"\)|"((?:[^"\\]|\\.)*)"/g);
  return [...parts].map(([, file, text]) =>
    file ? readFileSync(new URL(file, SERVE), "utf8") : JSON.parse(`"${text}"`)).join("");
}

export function policy(html) {
  const hash = (name) => {
    const inside = html.match(new RegExp(`<${name}[^>]*>([\\s\\S]*?)</${name}>`))[1];
    return createHash("sha256").update(inside).digest("base64");
  };
  return `default-src 'none'; script-src 'sha256-${hash("script")}'; style-src 'sha256-${hash("style")}'; ` +
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}
