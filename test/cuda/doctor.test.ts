// driver: timeout=600
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { nextscale } from '../cli/support.js';
import { cudaDevice } from './support.js';

const test = suite('doctor and CUDA');
const { emulated, reason } = await cudaDevice();

interface Report {
  works: boolean;
  findings: { name: string; state: string; text: string; data: { usable?: boolean; reason?: string; device?: { gpu: string } } }[];
}

async function cudaFinding(fault: string): Promise<Report['findings'][number]> {
  const { code, stdout, stderr } = await nextscale(['doctor', '--json'], { env: { NEXTSCALE_EMULATION_FAULT: fault } });
  assert.is(code, 0, stderr);
  const report = JSON.parse(stdout) as Report;
  assert.ok(report.works, 'the CPU goes on working');
  assert.is(report.findings.find((f) => f.name === 'engine')?.state, 'ok');
  return report.findings.find((f) => f.name === 'cuda')!;
}

if (emulated) {
  test('the device is named, and that it is emulated', async () => {
    const f = await cudaFinding('');
    assert.is(f.state, 'note');
    assert.match(f.text, /^emulated on the host \(sm_90, .*\), driver for CUDA \d+\.\d, .*: emulated on the CPU, for tests/);
    assert.is(f.data.usable, false);
  });

  for (const [fault, why] of [
    ['device:none', /^not used: no NVIDIA driver is loaded .*; the CPU is used$/],
    ['driver:old', /^not used: the NVIDIA driver is too old: it does CUDA 11\.0, this plug-in needs \d+\.\d .*; the CPU is used$/],
    ['gpu:old', /^not used: GPU 0 has compute capability 7\.5, the kernels need 8\.0 .*; the CPU is used$/],
    [
      'image:none',
      /^not used: .*this plug-in has no kernels for emulated on the host \(compute capability 9\.0\): build it on this machine/,
    ],
    ['launch:1', /^not used: .*\[linear_pack\] kernel launch: .*; the CPU is used$/],
  ] as const) {
    test(`the reason with the fault ${fault}`, async () => {
      const f = await cudaFinding(fault);
      assert.is(f.state, 'note');
      assert.match(f.text, why);
      assert.is(f.data.usable, false);
    });
  }
} else test.skip(`the reasons need the emulated plug-in: ${reason}`, () => {});

test.run();
