// Fenced code blocks of a Markdown text and what the documentation test does with them.

export interface Block {
  language: string;
  line: number;
  text: string;
}

/** Fences of three or more backticks at the start of a line; the language is the first word after the opening fence. */
export function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let open: { fence: string; block: Block; lines: string[] } | null = null;
  markdown.split('\n').forEach((line, i) => {
    const fence = /^(`{3,})\s*([\w-]*)/.exec(line);
    if (open) {
      if (fence && fence[1]!.length >= open.fence.length && line.trim() === fence[1]) {
        blocks.push({ ...open.block, text: `${open.lines.join('\n')}\n` });
        open = null;
      } else open.lines.push(line);
    } else if (fence) open = { fence: fence[1]!, block: { language: fence[2]!, line: i + 1, text: '' }, lines: [] };
  });
  if (open !== null) throw new Error(`a fence is never closed: line ${(open as { block: Block }).block.line}`);
  return blocks;
}

export type Kind = 'sh' | 'ts' | 'js' | 'cjs' | 'setup' | 'shown' | 'unlabelled';

const RUN: Readonly<Record<string, Kind>> = {
  sh: 'sh',
  bash: 'sh',
  shell: 'sh',
  ts: 'ts',
  typescript: 'ts',
  js: 'js',
  javascript: 'js',
  mjs: 'js',
  cjs: 'cjs',
};
// Installing and testing the project itself: test/setup does that, here only the names are checked.
const SETUP_LINE =
  /^(?:npm (?:ci|test|run|install|start)\b|git clone\b|cd \S+$|(?:sudo )?(?:apt-get|dnf|pacman|apk|brew|cmake)\b|npx (?:cmake-js|node-gyp)\b)/;

export function commandsOf(text: string): string[] {
  return text
    .replace(/\s*\\\n\s*/g, ' ')
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '');
}

export function kindOf({ language, text }: Block): Kind {
  if (language === '') return 'unlabelled';
  const kind = RUN[language] ?? 'shown';
  if (kind !== 'sh') return kind;
  return commandsOf(text).every((line) => SETUP_LINE.test(line)) ? 'setup' : 'sh';
}

/** What is wrong with a set-up command: a script or a package that package.json does not know. */
export function setupProblem(line: string, manifest: { name: string; scripts: Record<string, string> }): string | null {
  const script = /^npm (?:run (?:--silent )?)?(?:(test|start)\b|(?<=run (?:--silent )?)([\w-]+))/.exec(line);
  const name = script?.[1] ?? script?.[2];
  if (name && !(name in manifest.scripts)) return `'${line}': package.json has no script ${name}`;
  const packages = /^npm install (?!-)(\S+)$/.exec(line)?.[1];
  if (packages && packages !== manifest.name) return `'${line}': the package is called ${manifest.name}`;
  return null;
}
