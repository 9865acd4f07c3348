import { expect, it } from 'vitest';
import { uuidv7 } from '../voice/uuid';
import { cleanNumber, clockTime } from './format';

it('times read as on a clock', () => {
  expect([0, 7_900, 60_000, 3_723_000, -5].map(clockTime)).toEqual(['0:00', '0:07', '1:00', '1:02:03', '0:00']);
});

it('a pasted number loses its ornaments', () => {
  expect(cleanNumber('+49 (30) 123-45/6')).toBe('+4930123456');
  expect(cleanNumber('*21#')).toBe('*21#');
});

it('call ids sort by time', () => {
  expect(uuidv7(1_000) < uuidv7(2_000)).toBe(true);
  expect(uuidv7(0x0190_0000_0000)).toMatch(/^01900000-0000-7/);
});
