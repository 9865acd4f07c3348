import { expect } from '@playwright/test';
import { bursts, findTone } from './audio';
import { heardInPage, logIn, speakersPlay, test } from './real';

test('without leave to play by itself, the page rings and plays after the clicks of a login', async ({
  page,
  sound,
  ring,
}) => {
  await logIn(page);
  const call = ring();
  const dialog = page.getByRole('alertdialog', { name: 'Incoming call' });
  await expect(dialog).toContainText(/Ringing for 0:0[1-9]/);
  await expect(dialog.getByText('The browser keeps the ringing silent')).toBeHidden();
  await dialog.getByRole('button', { name: 'Accept' }).click();
  await expect.poll(() => findTone(sound.heard().sound, 440).seconds).toBeGreaterThan(1);
  sound.play(bursts(1000, 2, 0.3));
  await expect.poll(async () => findTone(await heardInPage(page, 3), 1000).seconds).toBeGreaterThan(1);
  expect(await speakersPlay(page)).toBe(true);
  await page.getByRole('button', { name: 'Hang up' }).click();
  await call.finished;
});
