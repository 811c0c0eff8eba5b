import { cyclesOf } from './graph.js';
import { codeOf, type Files, type Finding, includesOf, matches } from './source.js';

const isSource = (name: string) => /\.(h|hpp|cpp|cc|c|cu|cuh)$/.test(name);
const isShipped = (name: string) => isSource(name) && /^(native|cuda)\//.test(name) && !/^(native|cuda)\/test\//.test(name);

/** What a folder may include of ours, besides itself. `native/test` and `cuda/test` may include everything. */
const MAY_INCLUDE: Readonly<Record<string, readonly string[]>> = {
  'native/abi': [],
  'native/core': ['native/abi'],
  // A backend enters its name in the registry of native/core; nothing in core knows a backend.
  'native/cpu': ['native/abi', 'native/core'],
  'native/null': ['native/abi', 'native/core'],
  cuda: ['native/abi', 'cuda/emulation'],
  // Stands in for the toolkit: it knows nothing of ours.
  'cuda/emulation': ['native/abi'],
  'native/napi': ['native/abi', 'native/core', 'native/cpu', 'native/null'],
};

const folderOf = (name: string) =>
  name.startsWith('cuda/') && !/^cuda\/(test|emulation)\//.test(name) ? 'cuda' : name.split('/').slice(0, 2).join('/');

function sources(files: Files, wanted: (name: string) => boolean): [string, string][] {
  return [...files].filter(([name]) => wanted(name));
}

const isNative = (name: string) => isSource(name) && /^(native|cuda)\//.test(name);

export function nativeFloors(files: Files): Finding[] {
  const rule = 'native-floors';
  return sources(files, isNative).flatMap(([file, text]) => {
    const folder = folderOf(file);
    if (folder === 'native/test' || folder === 'cuda/test') return [];
    const allowed = MAY_INCLUDE[folder];
    if (!allowed) return [{ rule, file, line: 1, text: `${folder} is no folder of the plan` }];
    return includesOf(text)
      .filter(({ path }) => /^(native|cuda)\//.test(path) && folderOf(path) !== folder && !allowed.includes(folderOf(path)))
      .map(({ path, line }) => ({ rule, file, line, text: `${folder} must not include ${path}` }));
  });
}

/** Own headers are named from the root, so that the rules above see every edge. */
export function nativeIncludeForm(files: Files): Finding[] {
  return sources(files, isNative).flatMap(([file, text]) =>
    [...codeOf(text).matchAll(/^[ \t]*#[ \t]*include[ \t]+"([^"\n]+)"/gm)]
      .filter((match) => !/^(native|cuda)\//.test(match[1]!) && !/^(hwy|napi|node_api|cuda)/.test(match[1]!))
      .map((match) => ({
        rule: 'native-include-form',
        file,
        line: text.slice(0, match.index).split('\n').length,
        text: `includes are written from the root: "${match[1]}"`,
      })),
  );
}

export function nativeCycles(files: Files): Finding[] {
  // Highway compiles a file again for every target by including it: that edge to itself is the mechanism.
  const edges = sources(files, isNative).flatMap(([from, text]) =>
    includesOf(text)
      .filter(({ path }) => files.has(path) && path !== from)
      .map(({ path, line }) => ({ from, to: path, line })),
  );
  return cyclesOf('native-cycles', edges);
}

export function napiOnlyInNapi(files: Files): Finding[] {
  return sources(files, isNative)
    .filter(([name]) => !name.startsWith('native/napi/'))
    .flatMap(([file, text]) =>
      includesOf(text)
        .filter(({ path }) => /(^|\/)(napi\.h|napi-inl\.h|node_api\.h|js_native_api\.h|uv\.h|v8\.h|node\.h)$/.test(path))
        .map(({ path, line }) => ({ rule: 'napi-only-in-napi', file, line, text: `only native/napi includes ${path}` })),
    );
}

export function cudaHeaders(files: Files): Finding[] {
  return sources(files, isNative)
    .filter(([name]) => name.startsWith('native/'))
    .flatMap(([file, text]) =>
      includesOf(text)
        .filter(({ path }) => /^(cuda|cublas|cudnn|nccl|curand)/i.test(path))
        .map(({ path, line }) => ({ rule: 'cuda-headers', file, line, text: `native/ includes no CUDA header: ${path}` })),
    );
}

export function kernelLaunches(files: Files): Finding[] {
  return sources(files, isNative)
    .filter(([name]) => !name.startsWith('cuda/common/'))
    .flatMap(([file, text]) =>
      matches('kernel-launches', file, codeOf(text, { strings: true }), /<<<[^\n]*/g, 'launches live in cuda/common'),
    );
}

export function nativeNeverEnds(files: Files): Finding[] {
  const pattern = /(?<![\w.>])(?:std\s*::\s*|::)?(?:abort|exit|_exit|quick_exit|terminate|assert|HWY_ABORT|HWY_ASSERT)\s*\([^\n]*/g;
  return sources(files, isShipped).flatMap(([file, text]) =>
    matches('native-never-ends', file, codeOf(text, { strings: true }), pattern, 'native code returns a status'),
  );
}

export function nativeNeverPrints(files: Files): Finding[] {
  const pattern = /(?<![\w.>])(?:std\s*::\s*)?(?:(?:f|v|vf)?printf|f?puts|cout|cerr|clog|perror)\b\s*(?:\(|<<)[^\n]*/g;
  return sources(files, isShipped).flatMap(([file, text]) =>
    matches('native-never-prints', file, codeOf(text, { strings: true }), pattern, 'native code never prints'),
  );
}

/** One source list: CMakeLists.txt. binding.gyp only calls it, and neither loosens floating-point arithmetic. */
export function oneBuild(files: Files): Finding[] {
  const rule = 'one-build';
  const gyp = files.get('binding.gyp') ?? '';
  const cmake = codeOf(files.get('CMakeLists.txt') ?? '').replace(/#.*/g, '');
  return [
    ...matches(rule, 'binding.gyp', gyp, /['"]sources['"][^\n]*/g, 'sources are listed in CMakeLists.txt alone'),
    ...matches(rule, 'binding.gyp', gyp, /\$\(pwd\)|\$PWD/g, 'paths start at <(module_root_dir)'),
    ...matches(rule, 'CMakeLists.txt', cmake, /-f(?:fast-math|unsafe-math-optimizations|associative-math)|-Ofast/g, 'no loose arithmetic'),
  ];
}
