/** Seconds as `0:07`, `12:30`, `1:02:03`. */
export function clockTime(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const [hours, minutes, seconds] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const tail = String(seconds).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${tail}` : `${minutes}:${tail}`;
}

/** What a keyboard or a paste may put into the number field: digits, `*`, `#`, `+`, and letters of an address. */
export function cleanNumber(text: string): string {
  return text.replace(/[\s()/-]/g, '').slice(0, 128);
}
