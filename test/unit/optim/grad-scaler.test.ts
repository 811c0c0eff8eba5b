import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GradScaler } from '../../../ts/optim/index.js';

const test = suite('gradient scaler');

test('starts at 2^11 and doubles after every 1000 good steps', () => {
  const scaler = new GradScaler();
  assert.is(scaler.scale, 2048);
  for (let i = 0; i < 999; i++) scaler.update(false);
  assert.is(scaler.scale, 2048);
  scaler.update(false);
  assert.is(scaler.scale, 4096);
  for (let i = 0; i < 1000; i++) scaler.update(false);
  assert.is(scaler.scale, 8192);
});

test('a non-finite gradient halves the scale and the count begins again', () => {
  const scaler = new GradScaler({ growthInterval: 3 });
  scaler.update(false);
  scaler.update(false);
  scaler.update(true);
  assert.is(scaler.scale, 1024);
  scaler.update(false);
  scaler.update(false);
  assert.is(scaler.scale, 1024);
  scaler.update(false);
  assert.is(scaler.scale, 2048);
});

test('above 32768 one step is taken with the larger scale, then it is cut', () => {
  const scaler = new GradScaler({ initScale: 32768, growthInterval: 2 });
  scaler.update(false);
  assert.is(scaler.scale, 32768);
  scaler.update(false);
  assert.is(scaler.scale, 65536);
  scaler.update(false);
  assert.is(scaler.scale, 32768);
  // the step with the larger scale did not count
  scaler.update(false);
  assert.is(scaler.scale, 32768);
  scaler.update(false);
  assert.is(scaler.scale, 65536);
  scaler.update(true);
  assert.is(scaler.scale, 32768);
});

test('its state has the keys of torch and continues', async () => {
  const scaler = new GradScaler({ growthInterval: 3 });
  scaler.update(true);
  scaler.update(false);
  scaler.update(false);
  const state = scaler.state();
  assert.equal(Object.keys(state), ['scale', 'growth_factor', 'backoff_factor', 'growth_interval', '_growth_tracker']);
  const other = new GradScaler();
  await other.restore(JSON.parse(JSON.stringify({ ...state, scale: 1024, growth_factor: 2, backoff_factor: 0.5 })));
  other.update(false);
  assert.is(other.scale, 2048);
});

test('numbers out of range are refused', () => {
  assert.throws(() => new GradScaler({ initScale: 0 }), /initScale is 0/);
  assert.throws(() => new GradScaler({ backoffFactor: 2 }), /backoffFactor/);
});

test.run();
