// The browser, and what must hold of the page at all times.

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { policy } from "./document.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/** How long anything may take. */
const LIMIT = 60_000;

export class Wrong extends Error {}

export function must(holds, what) {
  if (!holds) throw new Wrong(what);
}

export function launch() {
  const sandbox = process.getuid() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath: BROWSERS.find(existsSync), args: sandbox });
}

/** A page of its own context; `page.wrongs` gathers what went wrong, `page.expected` what may. */
export async function open(browser, url, { fault = null, width = 360, height = 740, scheme = "light" } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: scheme, locale: "en-GB", timezoneId: "UTC", deviceScaleFactor: 2,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  page.wrongs = [];
  page.expected = [];
  const wrong = (text) => {
    if (!page.expected.some((pattern) => pattern.test(text))) page.wrongs.push(text);
  };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) wrong(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong(`script: ${error.message}`));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== "data:" && origin !== new URL(url).origin) wrong(`another origin: ${request.url()}`);
  });
  page.on("requestfailed", (request) => wrong(`request failed: ${request.url()} ${request.failure().errorText}`));
  page.on("response", (response) => {
    if (response.status() >= 400) wrong(`status ${response.status()}: ${response.url()}`);
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  if (fault !== null) {
    // The same document with a fault, and a policy that knows its script.
    await page.route((address) => address.pathname === "/", async (route) => {
      const response = await route.fetch();
      const html = await response.text();
      const changed = fault(html);
      must(changed !== html, "the fault changes nothing");
      await route.fulfill({ response, body: changed, headers: { ...response.headers(), "content-security-policy": policy(changed) } });
    });
  }
  return page;
}

/** The document itself is served as it must be. */
export async function checkDocument(url) {
  const response = await fetch(url);
  const html = await response.text();
  must(response.headers.get("content-security-policy") === policy(html), "the policy is not the one of this document");
  for (const [name, value] of [
    ["content-type", "text/html; charset=utf-8"], ["x-content-type-options", "nosniff"],
    ["referrer-policy", "no-referrer"], ["cache-control", "no-store"],
  ]) must(response.headers.get(name) === value, `${name} is ${response.headers.get(name)}`);
}

const CONTROLS = new Set(["button", "link", "textbox", "checkbox", "radio", "combobox", "slider", "meter", "progressbar",
  "image", "img", "DisclosureTriangle", "dialog", "navigation"]);

/** Every control has a name in the browser's accessibility tree. */
async function checkNames(page, where) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  await session.detach();
  const nameless = nodes.filter(({ ignored, role, name }) =>
    !ignored && CONTROLS.has(role?.value) && (name?.value ?? "").trim() === "");
  must(nodes.some(({ role }) => ["button", "link"].includes(role?.value)), `${where}: the accessibility tree is empty`);
  must(nameless.length === 0, `${where}: without a name: ${nameless.map(({ role }) => role.value).join(", ")}`);
}

/** Nothing to scroll sideways, targets large enough, no markup from text. */
async function checkLayout(page, where) {
  const found = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    const small = [...document.querySelectorAll("button, nav a, input, textarea, summary")]
      .filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 43.5)
      .map((node) => `${node.tagName} ${node.textContent.slice(0, 20)}`);
    const wide = [...document.querySelectorAll("main *")]
      .filter((node) => node.checkVisibility() && node.closest(".unseen, svg") === null)
      .filter((node) => node.getBoundingClientRect().right > clientWidth + 1)
      .map((node) => `${node.tagName}.${node.className}`);
    const foreign = document.querySelectorAll("body img, body iframe, main script, main link, main b").length;
    return { over: scrollWidth - clientWidth, small, wide, foreign, ran: globalThis.ran ?? null };
  });
  must(found.over <= 0 && found.wide.length === 0, `${where}: ${found.over} pixels too wide: ${found.wide.slice(0, 3)}`);
  must(found.small.length === 0, `${where}: too small to touch: ${found.small}`);
  must(found.foreign === 0, `${where}: text was read as markup`);
  must(found.ran === null, `${where}: text was run`);
}

async function checkAxe(page, where) {
  await page.evaluate(`if (!globalThis.axe) { ${AXE} }`);
  const bad = await page.evaluate(async () => {
    const { violations } = await axe.run(document, { preload: false, resultTypes: ["violations"] });
    return violations.filter(({ impact }) => impact !== "minor")
      .map(({ id, nodes }) => `${id} (${nodes[0].target}: ${nodes[0].any[0]?.message ?? ""})`);
  });
  must(bad.length === 0, `${where}: axe: ${bad.join("; ")}`);
}

/** All of it, where the page stands now. */
export async function audit(page, where) {
  await checkLayout(page, where);
  await checkNames(page, where);
  await checkAxe(page, where);
  must(page.wrongs.length === 0, `${where}: ${page.wrongs.join("; ")}`);
}

/** Tab goes through these in this order, each with a focus that is seen. */
export async function checkTabs(page, names) {
  await page.evaluate(() => { document.activeElement?.blur(); scrollTo(0, 0); });
  await page.locator("body").press("Home");
  const reached = [];
  for (let i = 0; i < names.length + 6; i += 1) {
    await page.keyboard.press("Tab");
    const [name, seen] = await page.evaluate(() => {
      const node = document.activeElement;
      // The message's box shows it by its frame.
      const outlined = (node) => getComputedStyle(node).outlineStyle !== "none" && parseFloat(getComputedStyle(node).outlineWidth) >= 2;
      return [node.id || node.textContent.trim(), outlined(node) || outlined(node.parentElement)];
    });
    if (name === "" || (await page.evaluate(() => document.activeElement === document.body))) continue;
    must(seen, `the focus on ${name} is not seen`);
    reached.push(name);
  }
  for (const name of names) must(reached.some((it) => it.startsWith(name)), `Tab does not reach ${name}: ${reached}`);
}
