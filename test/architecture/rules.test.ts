// Each rule of the architecture test, shown red on a small bad project and green on a good one.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { RULES, warningsOf } from './check.js';
import { codeOf, functionsOf } from './source.js';

const test = suite('architecture rules');

interface Example {
  bad: Record<string, string>;
  good: Record<string, string>;
  /** How many findings the bad files must give. */
  count?: number;
}

const path = (...parts: string[]) => `/${parts.join('/')}`;

const EXAMPLES: Record<string, Example> = {
  tsFloors: {
    bad: {
      'ts/core/a.ts': "import { b } from '../engine/b.js';\nexport type { M } from '../models/m.js';\n",
      'ts/nn/x.ts': "const y = await import('../optim/y.js');\n",
      'ts/attic/z.ts': 'export const z = 1;\n',
    },
    count: 4,
    good: {
      'ts/cli/main.ts': "import { VAR } from '../index.js';\nimport './options.js';\n",
      'ts/index.ts': "export { VAR } from './models/var/index.js';\n",
      'ts/core/a.ts': "// import { b } from '../engine/b.js';\nimport { join } from 'node:path';\n",
    },
  },
  tsCycles: {
    bad: {
      'ts/nn/a.ts': "import './b.js';",
      'ts/nn/b.ts': "import { type C } from './c.js';",
      'ts/nn/c.ts': "export { a } from './a.js';",
    },
    good: {
      'ts/nn/a.ts': "import './b.js'; import './c.js';",
      'ts/nn/b.ts': "import './c.js';",
      'ts/nn/c.ts': "import type { A } from './a.js';",
    },
  },
  tsImportForm: {
    bad: { 'ts/nn/a.ts': "import { b } from './b';" },
    good: { 'ts/nn/a.ts': "import { b } from './b.js'; import z from 'zod';" },
  },
  tsConsole: {
    bad: { 'ts/engine/a.ts': 'console.log(1);\nprocess.exit(1);\nprocess.stderr.write(`x`);\n' },
    count: 3,
    good: { 'ts/engine/a.ts': "// console.log\nconst s = 'console.log(1)';\n", 'ts/cli/a.ts': 'console.log(1); process.exit(0);' },
  },
  tsIndex: {
    bad: { 'ts/index.ts': "export { a } from './core/a.js';\nexport const b = 1;\n" },
    good: {
      'ts/index.ts':
        "// public names\nexport { a, type B } from './core/a.js';\nexport type { C } from './core/c.js';\nexport * as d from './nn/d.js';\n",
    },
  },
  nativeFloors: {
    bad: {
      'native/abi/a.h': '#include "native/core/pool.h"\n',
      'native/cpu/b.cpp': '#include "native/napi/x.h"\n',
      'cuda/ops/c.cu': '#include "native/core/slots.h"\n',
      'cuda/emulation/e.h': '#include "cuda/common/half.h"\n#include "native/core/slots.h"\n',
      'cuda/ops/t.cu': '#include "cuda/test/device_check.h"\n',
      'native/attic/d.h': '',
    },
    count: 7,
    good: {
      'native/cpu/b.cpp': '#include "native/abi/backend.h"\n#include "native/cpu/context.h"\n#include <vector>\n',
      'native/napi/x.cpp': '#include "native/core/engine.h"\n',
      'native/test/test_x.cpp': '#include "native/cpu/context.h"\n',
      'cuda/common/ptx.h': '#include "cuda/emulation/ptx.h"\n#include "native/abi/dtype.h"\n',
      'cuda/emulation/ptx.cpp': '#include "native/abi/dtype.h"\n#include "cuda/emulation/ptx.h"\n',
      'cuda/test/test_x.cpp': '#include "cuda/ops/c.h"\n#include "native/test/check.h"\n',
    },
  },
  nativeIncludeForm: {
    bad: { 'native/cpu/a.cpp': '#include "context.h"\n' },
    good: { 'native/cpu/a.cpp': '#include "native/cpu/context.h"\n#include "hwy/highway.h"\n' },
  },
  nativeCycles: {
    bad: { 'native/core/a.h': '#include "native/core/b.h"\n', 'native/core/b.h': '#include "native/core/a.h"\n' },
    good: { 'native/core/a.h': '#include "native/core/b.h"\n', 'native/core/b.h': '', 'native/cpu/s.cpp': '#include "native/cpu/s.cpp"\n' },
  },
  napiOnlyInNapi: {
    bad: { 'native/core/a.cpp': '#include <napi.h>\n' },
    good: { 'native/napi/a.cpp': '#include <napi.h>\n' },
  },
  cudaHeaders: {
    bad: { 'native/core/a.cpp': '#include <cuda_runtime.h>\n' },
    good: { 'cuda/backend.cu': '#include <cuda_runtime.h>\n' },
  },
  kernelLaunches: {
    bad: { 'cuda/ops/a.cu': 'void f() { k<<<grid, block>>>(x); }\n' },
    good: { 'cuda/common/launch.cuh': 'void f() { k<<<grid, block>>>(x); }\n', 'cuda/ops/a.cu': '// k<<<1, 1>>>()\n' },
  },
  nativeNeverEnds: {
    bad: { 'native/core/a.cpp': 'void f() {\n  assert(x);\n  std::abort();\n  exit(1);\n}\n' },
    count: 3,
    good: {
      'native/core/a.cpp': 'static_assert(1);\n// exit(1)\nvoid on_exit(int);\nscope.exit(1);\n',
      'native/test/test_a.cpp': 'exit(1);\n',
    },
  },
  nativeNeverPrints: {
    bad: { 'native/core/a.cpp': 'printf("x");\nstd::cerr << x;\n' },
    count: 2,
    good: { 'native/core/a.cpp': 'snprintf(buffer, n, "printf(");\n', 'native/test/test_a.cpp': 'printf("1 passed");\n' },
  },
  oneBuild: {
    bad: { 'binding.gyp': '{"sources": ["a.cpp"], "action": ["$(pwd)"]}', 'CMakeLists.txt': 'add_compile_options(-ffast-math)\n' },
    count: 3,
    good: { 'binding.gyp': '{"type": "none"}', 'CMakeLists.txt': '# never -ffast-math\nadd_compile_options(-O3)\n' },
  },
  foreignWords: {
    bad: {
      'ts/nn/a.ts': `// see issue 12; good enough for now\nconst p = '${path('root', 'x')}';\n`,
      'package-lock.json': '{"resolved": "https://registry.example.org/x"}',
    },
    count: 5,
    good: { 'ts/nn/a.ts': "import x from '../work/x.js';\nconst temp = tmpdir();\nconst v = 'version 10.2.3.4x';\n" },
  },
  fileLength: {
    bad: { 'ts/nn/a.ts': 'x\n'.repeat(601) },
    good: { 'ts/nn/a.ts': 'x\n'.repeat(600), 'ts/gen/ops.ts': 'x\n'.repeat(5000) },
  },
  honestTests: {
    bad: { 'test/unit/a.test.ts': "test('x', () => {});\n", 'test/unit/b.test.ts': "test.only('x', () => assert.ok(true));\n" },
    count: 2,
    good: { 'test/unit/a.test.ts': "test('x', () => assert.ok(true));\n" },
  },
  dependencyReasons: {
    bad: { 'package.json': '{"dependencies": {"left-pad": "1", "zod": "3"}}', 'docs/inside/dependencies.md': '| `zod` | ok |\n' },
    count: 2,
    good: {
      'package.json': '{"dependencies": {"zod": "3"}}',
      'docs/inside/dependencies.md': '| `zod` | checks configurations read from files |\n',
    },
  },
};

for (const [name, rule] of Object.entries(RULES)) {
  test(`${name} finds the bad and passes the good`, () => {
    const example = EXAMPLES[name];
    assert.ok(example, `rule ${name} has no example`);
    const found = rule(new Map(Object.entries(example.bad)));
    assert.is(found.length, example.count ?? 1, JSON.stringify(found));
    for (const finding of found) assert.ok(finding.file in example.bad && finding.line >= 1 && finding.text.length > 0);
    assert.equal(rule(new Map(Object.entries(example.good))), []);
  });
}

test('warnings name long files and long functions', () => {
  const body = '  x();\n'.repeat(60);
  const files = new Map([
    ['ts/nn/long.ts', 'x\n'.repeat(401)],
    ['ts/nn/f.ts', `export function f(): void {\n${body}}\n`],
    ['ts/nn/class.ts', `export class C<T> {\n${body}}\n`],
    ['native/cpu/k.cpp', `K::K()\n    : a(1),\n      b(2) {\n${body}}\n`],
    ['native/cpu/g.cpp', `void g(int a,\n       int b) {\n${body}}\n\nvoid h() {\n  x();\n}\n`],
  ]);
  assert.equal(
    warningsOf(files).map(({ rule, file }) => `${rule} ${file}`),
    ['file-length ts/nn/long.ts', 'function-length ts/nn/f.ts', 'function-length native/cpu/g.cpp'],
  );
});

test('comments and strings are told from code, line by line', () => {
  const text = ["a // b 'c", "'x // y' /* z", 'w */ 1\'000; "q\\"//r" /[\'"]/ k', '`t 1 //` m'].join('\n');
  assert.is(codeOf(text).split('\n').length, 4);
  assert.is(codeOf(text).replace(/ +/g, ' '), ['a ', "'x // y' ", ' 1\'000; "q\\"//r" /[\'"]/ k', '`t 1 //` m'].join('\n'));
  assert.is(codeOf("f('abort()')", { strings: true }), "f('       ')");
});

test('functions are measured from header to closing brace', () => {
  const found = functionsOf('class A {\n  f(x: number): void {\n    if (x) {\n      y();\n    }\n  }\n}\n');
  assert.equal(
    found.map(({ line, lines }) => [line, lines]),
    [[2, 5]],
  );
});

test.run();
