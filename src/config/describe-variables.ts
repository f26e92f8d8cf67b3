/** The documentation of the variables, `.env.example` and the README's table, from one source. */
import { describeExpectation, variableNames, variables } from "./variables.ts";

/** The text of `.env.example`: every variable, commented out, with its meaning and an example. */
export function renderEnvExample(): string {
  const blocks = variableNames.map((name) => {
    const { about, example, standard } = variables[name];
    const secret = "secret" in variables[name] ? ` Also as ${name}_FILE, the path of a file.` : "";
    const expected = describeExpectation(name);
    const values = expected === undefined ? "" : `# Value: ${expected.text}.\n`;
    return `# ${about}${secret}\n${values}# Default: ${standard}.\n# ${name}=${example}\n`;
  });
  return `# uponai-bff: copy to .env and uncomment what you need. \`npm run dev\` reads it.\n\n${blocks.join("\n")}`;
}

/** The README's table of variables. */
export function renderVariableTable(): string {
  const rows = variableNames.map((name) => {
    const { about, standard } = variables[name];
    return `| \`${name}\` | ${about} | ${describeExpectation(name)?.text ?? ""} | ${standard} |`;
  });
  const head = ["| variable | meaning | value | default |", "| --- | --- | --- | --- |"];
  return [...head, ...rows].join("\n");
}
