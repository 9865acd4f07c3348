const KEYS: [string, string][] = [
  ['1', ''],
  ['2', 'ABC'],
  ['3', 'DEF'],
  ['4', 'GHI'],
  ['5', 'JKL'],
  ['6', 'MNO'],
  ['7', 'PQRS'],
  ['8', 'TUV'],
  ['9', 'WXYZ'],
  ['*', ''],
  ['0', '+'],
  ['#', ''],
];

/** Twelve keys. */
export function Keys({ label, disabled, onKey }: { label: string; disabled?: boolean; onKey: (key: string) => void }) {
  return (
    <fieldset class="keys" aria-label={label} disabled={disabled}>
      {KEYS.map(([key, letters]) => (
        <button key={key} type="button" class="key" aria-label={key} onClick={() => onKey(key)}>
          <span>{key}</span>
          <small aria-hidden="true">{letters}</small>
        </button>
      ))}
    </fieldset>
  );
}
