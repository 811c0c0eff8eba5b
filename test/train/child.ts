// A run of the fake task in a process of its own, to be killed: child.ts OUT EPOCHS AC.
import { writeFileSync } from 'node:fs';
import { fakeRun } from './support.js';

const [out, ep, ac] = process.argv.slice(2) as [string, string, string];
const config = { ep: Number(ep), ac: Number(ac), save_it: 5, keep: 2, val_ep: 3 };
const onEvent = (event: { type: string }) => {
  if (event.type === 'start') process.stdout.write('ready\n');
};
const { task, optimizer, result } = await fakeRun(out, config, { slow: 3 }, { onEvent });
const { bestMeans, evaluation, best, gIt } = result;
const found = { weights: [...task.weights], momentum: [...optimizer.momentum], seen: task.seen, steps: optimizer.steps };
writeFileSync(`${out}.json`, JSON.stringify({ ...found, bestMeans, evaluation, best, gIt }));
