// Node 20 lacks the well-known symbols that `using` and `await using` compile to.
for (const name of ['dispose', 'asyncDispose'] as const) {
  if (!(name in Symbol)) Object.defineProperty(Symbol, name, { value: Symbol.for(`Symbol.${name}`), configurable: true });
}
