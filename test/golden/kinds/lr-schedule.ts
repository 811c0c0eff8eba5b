// Learning rate and weight decay of every iteration.
import { annealGroups, lrWdAt } from '../../../ts/optim/schedule.js';
import type { Check, KindRunner } from '../kind.js';

interface ScheduleCase {
  config: { param_groups: { lr_sc: number; wd_sc: number }[]; columns: string[] };
  rtol: number;
  tables: {
    sche: string;
    peak_lr: number;
    wp_it: number;
    max_it: number;
    wp0: number;
    wpe: number;
    wd: number;
    wd_end: number;
    rows: number[][];
  }[];
}

type Table = ScheduleCase['tables'][number];

function row(table: Table, it: number, scales: ScheduleCase['config']['param_groups']): number[] {
  const point = lrWdAt(
    {
      sche: table.sche,
      peakLr: table.peak_lr,
      wd: table.wd,
      wdEnd: table.wd_end,
      wpIt: table.wp_it,
      maxIt: table.max_it,
      wp0: table.wp0,
      wpe: table.wpe,
    },
    it,
  );
  const groups = scales.map(({ lr_sc, wd_sc }) => ({ lrSc: lr_sc, wdSc: wd_sc, lr: 0, weightDecay: 0 }));
  const { minLr, maxLr, minWd, maxWd } = annealGroups(groups, point);
  return [minLr, maxLr, minWd, maxWd, ...groups.flatMap(({ lr, weightDecay }) => [lr, weightDecay])];
}

export const run: KindRunner = async (c) => {
  const { config, rtol, tables } = c.json as unknown as ScheduleCase;
  return tables.map((table, i): Check => {
    let worst = 0;
    for (const [it, want] of table.rows.entries()) {
      const got = row(table, it, config.param_groups);
      for (const [j, value] of want.entries()) {
        const error = value === got[j] ? 0 : Math.abs(got[j]! - value) / Math.abs(value);
        worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
      }
    }
    return { tensor: `${i}/${table.sche}/relative`, maxAbsErr: worst, tolerance: rtol, ok: worst <= rtol };
  });
};
