/** Icons, drawn on a grid of 24; all are decoration beside a text. */
const HANDSET =
  'M8.2 3.6 6.300 4.500c-1 .5-1.500 1.500-1.300 2.600 1.200 6 5.900 10.700 11.900 11.900 1.100.2 2.100-.3 2.600-1.300l.9-1.900c.4-.8.1-1.700-.6-2.200l-2.600-1.700c-.6-.4-1.400-.3-1.900.2l-1.100 1.100a10.500 10.500 0 0 1-3.400-3.400l1.100-1.100c.5-.5.6-1.300.2-1.900L10.400 4.200c-.5-.7-1.400-1-2.200-.6Z';

export const HandsetIcon = ({ down = false }) => (
  <svg viewBox="0 0 24 24" aria-hidden="true" class={down ? 'icon down' : 'icon'}>
    <path d={HANDSET} fill="currentColor" />
  </svg>
);

export const MicrophoneIcon = ({ off = false }) => (
  <svg viewBox="0 0 24 24" aria-hidden="true" class="icon line">
    <rect x="9" y="3" width="6" height="11" rx="3" />
    <path d="M5.500 11.500a6.500 6.500 0 0 0 13 0M12 18v3" />
    {off && <path d="M4 4l16 16" />}
  </svg>
);

export const KeypadIcon = () => (
  <svg viewBox="0 0 24 24" aria-hidden="true" class="icon">
    {[5, 12, 19].flatMap((x) =>
      [5, 12, 19].map((y) => <circle key={`${x}-${y}`} cx={x} cy={y} r="2" fill="currentColor" />),
    )}
  </svg>
);

export const BackspaceIcon = () => (
  <svg viewBox="0 0 24 24" aria-hidden="true" class="icon line">
    <path d="M9 5h11v14H9l-6-7zM12 9.500l5 5M17 9.500l-5 5" />
  </svg>
);

/** Which way a past call went. */
export const ArrowIcon = ({ inbound = false }) => (
  <svg viewBox="0 0 24 24" aria-hidden="true" class="icon line">
    <path d={inbound ? 'M18 6 6.500 17.500M6.500 9v8.500H15' : 'M6 18 17.500 6.500M9 6.500h8.500V15'} />
  </svg>
);

export const HoldIcon = ({ resume = false }) => (
  <svg viewBox="0 0 24 24" aria-hidden="true" class="icon line">
    <path d={resume ? 'M8 5.500 18.500 12 8 18.500Z' : 'M9 5.500v13M15 5.500v13'} />
  </svg>
);

export const TransferIcon = () => (
  <svg viewBox="0 0 24 24" aria-hidden="true" class="icon line">
    <path d="M4 17v-3a5 5 0 0 1 5-5h10M15 4.500 19.500 9 15 13.500" />
  </svg>
);

export const SwapIcon = () => (
  <svg viewBox="0 0 24 24" aria-hidden="true" class="icon line">
    <path d="M4 8.500h15M15.500 5 19 8.500M20 15.500H5M8.500 12 5 15.500l3.500 3.500" />
  </svg>
);
