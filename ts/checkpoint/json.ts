// Strict JSON for safetensors headers: objects become Maps (no prototype to pollute), a name may occur once, depth is bounded,
// numbers are non-negative integers below 2^53. Anything else is refused with its offset.
import { fail } from './fail.js';

export type Json = null | boolean | number | string | Json[] | Map<string, Json>;

const MAX_DEPTH = 8;
const NUMBER = /(?:0|[1-9][0-9]*)(?![0-9.eE])/y;
const SPACE = /[ \t\n\r]*/y;

class Parser {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly file: string,
  ) {}

  parse(): Json {
    const value = this.value(0);
    this.space();
    if (this.at !== this.text.length) this.bad('text after the end of the JSON value');
    return value;
  }

  private bad(message: string): never {
    return fail({ file: this.file, offset: 8 + this.at }, `header: ${message}`);
  }

  private space(): void {
    SPACE.lastIndex = this.at;
    SPACE.exec(this.text);
    this.at = SPACE.lastIndex;
  }

  private take(char: string): boolean {
    this.space();
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }

  private value(depth: number): Json {
    if (depth > MAX_DEPTH) this.bad('nested too deeply');
    this.space();
    switch (this.text[this.at]) {
      case '{':
        return this.object(depth);
      case '[':
        return this.array(depth);
      case '"':
        return this.string();
    }
    for (const [word, value] of [
      ['true', true],
      ['false', false],
      ['null', null],
    ] as const) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.number();
  }

  private number(): number {
    NUMBER.lastIndex = this.at;
    const match = NUMBER.exec(this.text);
    if (!match)
      this.bad(`expected a value, found ${JSON.stringify(this.text.slice(this.at, this.at + 16))} (numbers are whole and not negative)`);
    const value = Number(match![0]);
    if (!Number.isSafeInteger(value)) this.bad(`${match![0].slice(0, 40)} is beyond 2^53 - 1`);
    this.at = NUMBER.lastIndex;
    return value;
  }

  /** A quoted string; scanned by hand, a regular expression would need a stack as deep as the string is long. */
  private string(): string {
    const start = this.at;
    let escaped = false;
    let end = start + 1;
    for (; end < this.text.length; end++) {
      const code = this.text.charCodeAt(end);
      if (code === 0x22) break;
      if (code < 0x20) this.bad('control character in a string');
      if (code === 0x5c) {
        escaped = true;
        end++;
      }
    }
    if (end >= this.text.length) this.bad('unterminated string');
    this.at = end + 1;
    if (!escaped) return this.text.slice(start + 1, end);
    try {
      return JSON.parse(this.text.slice(start, end + 1)) as string;
    } catch {
      return this.bad('bad escape in a string');
    }
  }

  private array(depth: number): Json[] {
    const out: Json[] = [];
    this.at++;
    if (this.take(']')) return out;
    do out.push(this.value(depth + 1));
    while (this.take(','));
    if (!this.take(']')) this.bad('expected , or ]');
    return out;
  }

  private object(depth: number): Map<string, Json> {
    const out = new Map<string, Json>();
    this.at++;
    if (this.take('}')) return out;
    do {
      this.space();
      if (this.text[this.at] !== '"') this.bad('expected a name');
      const name = this.string();
      if (out.has(name)) this.bad(`the name ${JSON.stringify(name.slice(0, 120))} occurs twice`);
      if (!this.take(':')) this.bad('expected :');
      out.set(name, this.value(depth + 1));
    } while (this.take(','));
    if (!this.take('}')) this.bad('expected , or }');
    return out;
  }
}

/** Parses the header text of a safetensors file; offsets in errors count from the start of the file (ASCII assumed). */
export function parseStrictJson(text: string, file: string): Json {
  return new Parser(text, file).parse();
}
