// nextscale data: what is in a dataset, and token caches.
import { Command } from 'commander';
import { type DatasetReport, duplicatesOf, findSplits, inspectDataset, openDataset, type Range, type Split } from '../data/index.js';
import { type CommonOptions, Context, common, EXIT } from './context.js';
import { tokensCommand } from './data-tokens.js';
import { integer } from './options.js';

interface CheckOptions extends CommonOptions {
  reso?: number;
  maxPixels?: number;
}

const SHOWN = 20;

async function check(ctx: Context, path: string, options: CheckOptions): Promise<void> {
  const splits = await findSplits(path);
  const parts: Split[] = splits.val === undefined ? ['train'] : splits.train === undefined ? ['val'] : ['train', 'val'];
  const reports: Partial<Record<Split, DatasetReport>> = {};
  let classes: readonly string[] | undefined;
  for (const split of parts) {
    const dataset = await openDataset(path, { split, ...(classes ? { classes } : {}), signal: ctx.signal });
    classes ??= dataset.classes;
    using progress = ctx.progress(parts.length > 1 ? split : 'images', dataset.length);
    const { reso, maxPixels } = options;
    try {
      reports[split] = await inspectDataset(dataset, {
        ...(reso === undefined ? {} : { reso }),
        ...(maxPixels === undefined ? {} : { maxPixels }),
        signal: ctx.signal,
        onProgress: (_done, _total, name) => progress.step(name),
      });
    } finally {
      await dataset.close();
    }
  }
  const shared = sharedImages(reports);
  const broken = parts.reduce((sum, split) => sum + Object.keys(reports[split]!.broken).length, 0);
  const data = Object.fromEntries(parts.map((split) => [split, { ...reports[split]!, hashes: undefined }]));
  const text = parts.flatMap((split) => render(split, reports[split]!, parts.length > 1));
  if (shared.length > 0) text.push(`in both parts  ${shared.length} images, such as ${shared[0]!.join(' and ')}`);
  text.push(broken > 0 ? `${broken} images cannot be used; training skips them and says so` : 'every image can be used');
  ctx.result({ path, ...data, inBothParts: shared, broken }, text.join('\n'));
  if (broken > 0) process.exitCode = EXIT.failure;
}

/** Images of the validation part that are in the training part, too. */
function sharedImages({ train, val }: Partial<Record<Split, DatasetReport>>): string[][] {
  if (!train || !val) return [];
  const once = (report: DatasetReport) =>
    [...new Map([...report.hashes].map(([name, hash]) => [hash, name])).entries()].map(([h, n]) => [n, h] as const);
  return duplicatesOf([...once(train), ...once(val)]);
}

const range = (r: Range | undefined): string => (r ? `${r.min} / ${r.median} / ${r.max}` : 'none');

const ODD = {
  greyscale: 'greyscale',
  cmyk: 'CMYK',
  alpha: 'with alpha',
  rotated: 'with an EXIF orientation',
  animated: 'animated',
  bits16: '16-bit',
} as const;

function render(split: Split, r: DatasetReport, named: boolean): string[] {
  const perClass = r.classes.map(({ name, images }) => `  ${String(images).padStart(8)}  ${name}`);
  const odd = Object.entries(ODD).flatMap(([key, what]) => {
    const n = r.oddities[key as keyof typeof ODD];
    return n > 0 ? [`${n} ${what}`] : [];
  });
  const list = (title: string, entries: readonly string[]): string[] =>
    entries.length === 0
      ? []
      : [
          title,
          ...entries.slice(0, SHOWN).map((e) => `  ${e}`),
          ...(entries.length > SHOWN ? [`  and ${entries.length - SHOWN} more (--json lists all)`] : []),
        ];
  return [
    ...(named ? [`-- ${split}`] : []),
    `${r.path}: ${r.images} images of ${r.classes.length} classes (${r.layout})`,
    ...(perClass.length > SHOWN * 2 ? [...perClass.slice(0, SHOWN * 2), `  and ${perClass.length - SHOWN * 2} more`] : perClass),
    `formats        ${Object.entries(r.formats)
      .map(([name, n]) => `${n} ${name}`)
      .join(', ')}`,
    `width          ${range(r.width)}   (min / median / max)`,
    `height         ${range(r.height)}`,
    `shorter edge   ${range(r.shortEdge)}`,
    ...(odd.length > 0 ? [`converted      ${odd.join(', ')}`] : []),
    ...list(
      'broken:',
      Object.entries(r.broken).map(([name, why]) => `${name}: ${why}`),
    ),
    ...list(
      'the same bytes:',
      r.duplicates.map((group) => group.join(' = ')),
    ),
    ...list(
      'not part of the dataset:',
      Object.entries(r.ignored).map(([name, why]) => `${name}: ${why}`),
    ),
    ...list('advice:', r.advice),
  ];
}

function checkCommand(signal: AbortSignal): Command {
  return common(new Command('check'))
    .description('Look at every image of a dataset: classes, sizes, odd formats, broken files, duplicates.')
    .argument('<path>', 'folder, list (.csv, .tsv, .jsonl) or tar shards')
    .option('--reso <n>', 'resolution that is planned', integer('--reso', 1, 16384))
    .option('--max-pixels <n>', 'larger images count as broken', integer('--max-pixels', 1))
    .addHelpText('after', '\nThe exit code is 1 when an image cannot be used.\n\nExample:\n  nextscale data check photos/ --reso 256')
    .action(async (path: string, options: CheckOptions) => check(new Context(options, signal), path, options));
}

export function dataCommand(signal: AbortSignal): Command {
  const command = new Command('data').description('Check a dataset, or compute the tokens of one.');
  for (const sub of [checkCommand(signal), tokensCommand(signal)]) command.addCommand(sub.exitOverride().showSuggestionAfterError());
  return command;
}
