// Numbers and times as Python prints them, so that logs read as the reference's.

/** `'%.{digits}g'`: significant digits, exponent of at least two digits below 1e-4 and from 10^digits on, no trailing zeros. */
export function formatG(value: number, digits = 6): string {
  if (!Number.isFinite(value)) return formatF(value, 0);
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const [mantissa, power] = value.toExponential(digits - 1).split('e') as [string, string];
  const exponent = Number(power);
  const trim = (text: string) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);
  if (exponent >= -4 && exponent < digits) return trim(value.toFixed(Math.max(digits - 1 - exponent, 0)));
  return `${trim(mantissa)}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

/** `'%.{digits}f'`. */
export function formatF(value: number, digits: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  return value.toFixed(digits);
}

/** str(datetime.timedelta(seconds=seconds)) of whole seconds: 1:02:03, 2 days, 0:00:00. */
export function formatDelta(seconds: number): string {
  const whole = Math.max(0, Math.trunc(Number.isFinite(seconds) ? seconds : 0));
  const days = Math.floor(whole / 86_400);
  const two = (n: number) => String(n).padStart(2, '0');
  const time = `${Math.floor((whole % 86_400) / 3600)}:${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  return days === 0 ? time : `${days} ${days === 1 ? 'day' : 'days'}, ${time}`;
}

/** '%Y-%m-%d %H:%M' in local time. */
export function formatDate(ms: number): string {
  const d = new Date(ms);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}`;
}

/** repr() of a Python literal: what ast.literal_eval reads back. */
export function pythonLiteral(value: unknown): string {
  if (value === undefined || value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : `float('${formatF(value, 0)}')`;
  if (typeof value === 'string') return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\n', '\\n')}'`;
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(', ')}]`;
  return `{${Object.entries(value)
    .map(([key, item]) => `${pythonLiteral(key)}: ${pythonLiteral(item)}`)
    .join(', ')}}`;
}

/** numpy.linspace(0, last, n, dtype=int): n whole numbers from 0 to last. */
export function linspaceInt(last: number, n: number): number[] {
  const step = n > 1 ? last / (n - 1) : 0;
  return Array.from({ length: n }, (_, i) => (i === n - 1 ? last : Math.trunc(i * step)));
}
