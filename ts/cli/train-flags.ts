// Flags of training from the table of its options: dashes and underscores are the same, a JSON file gives what flags do not.
import { Command, Option } from 'commander';
import { ArgumentError } from '../core/errors.js';
import { checkValues, type Fields, fieldName, parseFlag, suggestion } from '../train/config/fields.js';
import { readConfig } from '../train/config/file.js';

/** Options of the command line alone. */
const OWN = ['config', 'resume', 'threads', 'device', 'json', 'quiet', 'help', 'ckpt', 'vae', 'from'];

/** A command whose flags come from a table. */
export class FieldCommand extends Command {
  private fields: Fields = {};
  private own: ReadonlySet<string> = new Set(OWN);

  /** Adds a flag per field. Values are kept as they are given: defaults are filled in later, so that a file can stand between. */
  withFields(fields: Fields): this {
    this.fields = fields;
    for (const [name, field] of Object.entries(fields)) {
      const given = field.kind === 'boolean' ? '[bool]' : field.kind === 'number' ? '<n>' : '<text>';
      const initial = field.default === '' ? '' : ` (${String(field.default)})`;
      const also = field.aliases?.length ? `; also --${field.aliases.join(', --')}` : '';
      const option = new Option(`--${name} ${given}`, `${field.doc}${initial}${also}`);
      this.addOption(option.argParser((text: string) => parseFlag(name, field, text)));
    }
    return this;
  }

  override parseOptions(argv: string[]): ReturnType<Command['parseOptions']> {
    return super.parseOptions(argv.map((arg) => this.canonical(arg)));
  }

  /** `--save-it=3`, `--no-anorm`, `--data` as commander knows them. */
  private canonical(arg: string): string {
    const m = /^--([A-Za-z][\w-]*)(=.*)?$/s.exec(arg);
    if (!m) return arg;
    const [, given, rest = ''] = m as unknown as [string, string, string | undefined];
    const name = fieldName(this.fields, given);
    if (name !== undefined) return `--${name}${rest}`;
    const negated = /^no[-_](.+)$/.exec(given)?.[1];
    const off = negated === undefined ? undefined : fieldName(this.fields, negated);
    if (off !== undefined && this.fields[off]!.kind === 'boolean') return `--${off}=false`;
    if (this.own.has(given) || this.options.some((option) => option.long === `--${given}`)) return arg;
    throw new ArgumentError(`unknown option --${given}${suggestion(this.fields, given).replaceAll('"', '').replace('mean ', 'mean --')}`);
  }

  /** What flags and file say together; flags win. Throws ArgumentError. */
  async given(file: string | undefined): Promise<Record<string, unknown>> {
    const flags = Object.fromEntries(
      Object.entries(this.opts()).flatMap(([key, value]) => {
        const name = fieldName(this.fields, key);
        return name === undefined || value === undefined ? [] : [[name, value === true ? true : value]];
      }),
    );
    if (file === undefined) return flags;
    return { ...checkValues(file, this.fields, await readConfig(file)), ...flags };
  }
}
