// Clicks through the server's page in a real browser.
//   node check_page.mjs [URL] [--token TOKEN] [--binary PATH] [--faults] [--shots FOLDER]
// Against the server at the URL, one that it starts from the binary, or else a mock; with --faults also
// against planted faults, all of which must be found.

import { argv, exit } from "node:process";
import { checkDocument, launch, must, open } from "./browser.mjs";
import { FAULTS } from "./faults.mjs";
import * as mock from "./mock.mjs";
import * as real from "./real.mjs";
import { shots } from "./shots.mjs";
import { STEPS } from "./steps.mjs";

const value = (name) => argv.includes(name) ? argv[argv.indexOf(name) + 1] : null;
const given = argv[2]?.startsWith("http") ? argv[2] : null;

/** What is checked: each time a fresh one, unless it is somebody's. */
async function server() {
  if (given !== null) return { url: given, token: value("--token"), mock: null, close: () => {} };
  if (value("--binary") !== null) return real.start(value("--binary"));
  const started = await mock.start({ token: "a token" });
  return { url: started.url, token: started.state.token, mock: started, close: started.close };
}

/** All steps in one page; throws where one fails. */
async function run(browser, { fault = null, tell = () => {} } = {}) {
  const checked = await server();
  const page = await open(browser, checked.url, { fault });
  let at = "document";
  try {
    await checkDocument(checked.url);
    for (const [name, step] of Object.entries(STEPS)) {
      at = name;
      const more = await step(page, checked);
      must(page.wrongs.length === 0, page.wrongs.join("; "));
      tell(`ok    ${name}${more ? `: ${more}` : ""}`);
    }
  } catch (error) {
    const also = page.wrongs.length > 0 ? ` [${page.wrongs.join("; ")}]` : "";
    throw new Error(`${at}: ${error.message}${also}`);
  } finally {
    await page.context().close();
    await checked.close();
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
if (value("--shots") !== null) await shots(browser, value("--shots"));
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
exit(failed === 0 ? 0 : 1);
