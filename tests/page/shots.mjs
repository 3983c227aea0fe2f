// Pictures of every view, on a phone and a desk, by day and by night.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { open } from "./browser.mjs";
import { ask, go } from "./steps.mjs";
import { start } from "./mock.mjs";

const SIZES = { phone: [390, 844], desk: [1280, 800] };

export async function shots(browser, folder) {
  mkdirSync(folder, { recursive: true });
  for (const [device, [width, height]] of Object.entries(SIZES)) {
    for (const scheme of ["light", "dark"]) {
      const mock = await start();
      const page = await open(browser, mock.url, { width, height, scheme });
      // No help that would put a style into the page.
      const shot = (name, fullPage = false) =>
        page.screenshot({ path: join(folder, `${device}-${scheme}-${name}.png`), fullPage, caret: "initial" });
      await page.goto(mock.url);
      await page.locator("#open").waitFor();
      await shot("1-talk-empty");
      await ask(page, "What should I drink on a cold rainy day?");
      await page.getByRole("button", { name: "Good" }).click();
      await page.locator(".remark").waitFor();
      await ask(page, "And what would Orla put into it, if she had come by and it were already late in the evening?");
      await shot("2-talk");
      await page.getByRole("button", { name: "Better…" }).click();
      await shot("3-better");
      await go(page, "asked");
      await page.locator("#asked-question").waitFor();
      await shot("4-asked");
      await go(page, "remembered");
      await page.locator("details.remembered > summary").first().click();
      await shot("5-remembered", true);
      await page.getByRole("button", { name: "Forget everything…" }).click();
      await shot("6-forget");
      await page.keyboard.press("Escape");
      await go(page, "learned");
      await page.locator(".round").first().waitFor();
      await page.waitForFunction(() => document.querySelectorAll("svg.chart").length > 0);
      await shot("7-learned", true);
      mock.state.hold = true;
      await page.locator("#learn").click();
      await page.getByText(/^Step 12/).waitFor();
      await shot("8-learning");
      mock.state.held = [];
      await go(page, "asked");
      await page.locator("#asked-empty").waitFor();
      await shot("9-nothing-asked");
      await page.context().close();
      mock.close();
    }
  }
}
