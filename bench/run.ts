// `npm run bench -- [what] [options]` is `nextscale bench` run from the sources; peers are timed by bench/peers/run.ts.
process.argv.splice(2, 0, 'bench');
await import('../ts/cli/main.js');
