import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkValues, defaultsOf, type Fields, parseFlag } from '../../ts/train/config/fields.js';
import { SHARED_FIELDS } from '../../ts/train/config/shared.js';
import { VAR_CHANGEABLE, VAR_FIELDS, varArgs } from '../../ts/train/config/var.js';
import { VQVAE_FIELDS, vqvaeArgs } from '../../ts/train/config/vqvae.js';

/** Of the reference's Args; those that are set automatically are no options. */
const REFERENCE =
  'data_path exp_name vfast tfast depth ini hd aln alng fp16 tblr twd twde tclip ls bs ac ep wp wp0 wpe sche opt afuse saln anorm fuse pn patch_size mid_reso hflip workers pg pg0 pgwp tf32 seed same_seed_for_all_ranks local_out_dir_path';

test('every option of the reference is one here, with its default', () => {
  const fields = VAR_FIELDS as Fields;
  for (const name of REFERENCE.split(' ')) assert.ok(Object.hasOwn(fields, name), name);
  const { depth, hd, aln, alng, tblr, twd, tclip, bs, ac, ep, wp0, wpe, sche, mid_reso, pg0 } = defaultsOf(VAR_FIELDS);
  assert.equal(
    { depth, hd, aln, alng, tblr, twd, tclip, bs, ac, ep, wp0, wpe, sche, mid_reso, pg0 },
    {
      ...{ depth: 16, hd: 0.02, aln: 0.5, alng: 1e-5, tblr: 1e-4, twd: 0.05, tclip: 2, bs: 768, ac: 1, ep: 250 },
      ...{ wp0: 0.005, wpe: 0.01, sche: 'lin0', mid_reso: 1.125, pg0: 4 },
    },
  );
});

test('what follows from the options is what the reference derives', () => {
  const a = varArgs({ bs: 96, ac: 4, ep: 250, tblr: 8e-5, pg: 0.8, pn: '1-2-3', twd: 0.08 });
  assert.is(a.batch_size, 24);
  assert.is(a.bs, 24);
  assert.is(a.tlr, (4 * 8e-5 * 24) / 256);
  assert.is(a.twde, 0.08);
  assert.is(a.wp, 5);
  assert.is(a.pgwp, 250 / 300);
  assert.is(a.sche, 'lin0.8');
  assert.equal(a.patch_nums, [1, 2, 3]);
  const b = varArgs({ bs: 5, ac: 2, wp: 1, twde: 0.01, pgwp: 2, pn: '512' });
  assert.is(b.batch_size, 2, '2.5 is rounded to even, as Python does');
  assert.equal([b.wp, b.twde, b.pgwp, b.sche], [1, 0.01, 2, 'lin0']);
  assert.equal(b.patch_nums, [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]);
  assert.equal(varArgs({ pn: '256' }).patch_nums, [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]);
  assert.equal(varArgs({ pn: '1024' }).patch_nums!.at(-1), 64);
  assert.is(varArgs({}).patch_nums, null);
});

test('sizes of a VQVAE follow from pn and ch_mult', () => {
  assert.is(vqvaeArgs({}).data_load_reso, 256);
  assert.is(vqvaeArgs({ pn: '1_2_4_8', ch_mult: '1_2_4', reso: 32 }).data_load_reso, 32);
  assert.throws(() => vqvaeArgs({ reso: 100 }), /reso is 100, accepted: 256/);
  assert.throws(() => vqvaeArgs({ ch: 33 }), /ch is 33, accepted: a multiple of groups \(32\)/);
  assert.throws(() => vqvaeArgs({ pn: '4_2' }), /pn is '4_2', accepted: growing sides/);
});

test('a wrong value names the option, what was given and what is accepted', () => {
  for (const [given, pattern] of [
    [{ depth: 0 }, /run\.json: depth is 0, accepted: an integer from 1 to 256/],
    [{ depth: '4' }, /depth is "4", accepted: an integer/],
    [{ depth: 4.5 }, /depth is 4.5/],
    [{ fp16: 3 }, /fp16 is 3, accepted: 0, 1, 2/],
    [{ sche: 'linear' }, /sche is "linear", accepted: cos, lin, lin0/],
    [{ opt: 'lion' }, /opt is "lion", accepted: adamw, adam, sgd/],
    [{ saln: 1 }, /saln is 1, accepted: true or false/],
    [{ ls: 2 }, /ls is 2, accepted: a number from 0 to 1/],
    [{ pg: 1 }, /pg is 1, accepted: a number from 0 to 0.999/],
    [{ pn: '1,2' }, /pn is "1,2", accepted: growing sides/],
    [{ tblr: Number.NaN }, /tblr is NaN/],
    [[], /an object of options is expected/],
    [null, /an object of options is expected/],
  ] as const)
    assert.throws(() => varArgs(given, 'run.json'), pattern);
});

test('an unknown option comes with the nearest one; both spellings are one option', () => {
  assert.throws(() => varArgs({ detph: 3 }), /unknown option "detph"; did you mean "depth"\?/);
  assert.throws(
    () => varArgs({ labelsmoothing: 3 }),
    (e: Error) => !/did you mean/.test(e.message) && /unknown option/.test(e.message),
  );
  assert.is(varArgs({ 'save-it': 7 }).save_it, 7);
  assert.is(varArgs({ data: 'x' }).data_path, 'x');
  assert.is(varArgs({ out: 'y' }).local_out_dir_path, 'y');
  assert.throws(() => varArgs({ data: 'x', data_path: 'y' }), /another spelling/);
});

test('values of flags', () => {
  const { depth, saln, sche, ini } = VAR_FIELDS as Fields;
  assert.is(parseFlag('depth', depth!, '12'), 12);
  assert.is(parseFlag('ini', ini!, '-1'), -1);
  for (const text of ['1', 'true', 'True', true] as const) assert.is(parseFlag('saln', saln!, text), true);
  for (const text of ['0', 'False', 'no'] as const) assert.is(parseFlag('saln', saln!, text), false);
  assert.is(parseFlag('sche', sche!, 'lin0.5'), 'lin0.5');
  for (const [field, text] of [
    [depth, ''],
    [depth, '1e'],
    [saln, 'maybe'],
    [sche, 'lin2'],
  ] as const)
    assert.throws(() => parseFlag('x', field!, text), /--x: got '.*', accepted: /);
});

test('options that shape the model or its data may not change when a run is resumed', () => {
  for (const name of ['depth', 'tblr', 'bs', 'ac', 'seed', 'pn', 'hflip', 'saln', 'opt', 'ls', 'wp0', 'sche', 'log_it'])
    assert.not(VAR_CHANGEABLE.has(name), name);
  for (const name of ['ep', 'workers', 'local_out_dir_path', 'save_it', 'keep', 'data_path', 'ckpt_blocks'])
    assert.ok(VAR_CHANGEABLE.has(name), name);
});

test('every default is accepted by its own check, and every option has its words', () => {
  for (const fields of [SHARED_FIELDS, VAR_FIELDS, VQVAE_FIELDS] as unknown as Fields[]) {
    checkValues('defaults', fields, defaultsOf(fields));
    for (const [name, field] of Object.entries(fields)) assert.ok(field.doc.length > 5 && field.accepted.length > 3, name);
  }
});

test.run();
