/** Generates `.env.example` and the README's table from the definitions of the variables. */
import { describeDefault, describeExpectation, variableNames, variables } from "./variables.ts";

/** Renders `.env.example`: every variable, commented out, with its meaning and an example. */
export function renderEnvExample(): string {
  const blocks = variableNames.map((name) => {
    const { about, example } = variables[name];
    const secret =
      "secret" in variables[name] ? ` ${name}_FILE can name a file that holds the value.` : "";
    const expected = describeExpectation(name);
    const values = expected === undefined ? "" : `# Value: ${expected.text}.\n`;
    return `# ${about}${secret}\n${values}# Default: ${describeDefault(name)}.\n# ${name}=${example}\n`;
  });
  return `# uponai-bff: copy to .env and uncomment the variables that you set. \`npm run dev\` reads it.\n\n${blocks.join("\n")}`;
}

/** Renders the README's table of variables as Markdown. */
export function renderVariableTable(): string {
  const rows = variableNames.map((name) => {
    const values = describeExpectation(name)?.text ?? "";
    return `| \`${name}\` | ${variables[name].about} | ${values} | ${describeDefault(name)} |`;
  });
  const head = ["| variable | meaning | value | default |", "| --- | --- | --- | --- |"];
  return [...head, ...rows].join("\n");
}
