// Clicks through the server's page in a real browser.
//   node check_page.mjs [URL] [--token TOKEN] [--shots FOLDER] [--faults]
// Without a URL against a mock of the server; with --faults also against planted faults, all of which
// must be found.

import { argv, exit } from "node:process";
import { checkDocument, launch, must, open } from "./browser.mjs";
import { FAULTS } from "./faults.mjs";
import { start } from "./mock.mjs";
import { shots } from "./shots.mjs";
import { STEPS } from "./steps.mjs";

const value = (name) => argv.includes(name) ? argv[argv.indexOf(name) + 1] : null;
const given = argv[2]?.startsWith("http") ? argv[2] : null;

/** All steps in one page; throws where one fails. */
async function run(browser, { fault = null, tell = () => {} } = {}) {
  const mock = given === null ? await start({ token: "a token" }) : null;
  const server = { mock, url: given ?? mock.url, token: mock ? mock.state.token : value("--token") };
  const page = await open(browser, server.url, { fault });
  try {
    await checkDocument(server.url);
    for (const [name, step] of Object.entries(STEPS)) {
      try {
        const more = await step(page, server);
        must(page.wrongs.length === 0, page.wrongs.join("; "));
        tell(`ok    ${name}${more ? `: ${more}` : ""}`);
      } catch (error) {
        const also = page.wrongs.length > 0 ? ` [${page.wrongs.join("; ")}]` : "";
        throw new Error(`${name}: ${error.message}${also}`);
      }
    }
  } finally {
    if (fault === null && value("--shots") && page.wrongs.length > 0) await page.screenshot({ path: `${value("--shots")}/failed.png`, caret: "initial" });
    await page.context().close();
    mock?.close();
  }
}

const browser = await launch();
let [passed, failed] = [0, 0];
const wrong = (text) => {
  failed += 1;
  console.log(`WRONG ${text}`);
};
try {
  await run(browser, { tell: (line) => { passed += 1; console.log(line); } });
} catch (error) {
  wrong(error.message);
}
if (argv.includes("--faults")) {
  for (const [name, { change, found }] of Object.entries(FAULTS)) {
    const said = await run(browser, { fault: change }).then(() => "", (error) => error.message);
    if (found.test(said)) {
      passed += 1;
      console.log(`ok    found: ${name} (${said.split("\n")[0].slice(0, 90)})`);
    } else {
      wrong(`not found: ${name}: ${said || "it passed"}`);
    }
  }
}
if (value("--shots") && given === null) await shots(browser, value("--shots"));
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
exit(failed === 0 ? 0 : 1);
