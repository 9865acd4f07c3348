import { existsSync, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from '@playwright/test';
import { bursts, writeWav } from './e2e/audio';
import { ADDRESS } from './e2e/sip';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const stage = here('../var/e2e');
const binary =
  process.env.TANDEM_BINARY ?? resolve(here('..'), process.env.CARGO_TARGET_DIR ?? 'target', 'debug/tandem');
if (!existsSync(binary)) {
  throw new Error(`no gateway to test at ${binary}: cargo build --features demo, or set TANDEM_BINARY`);
}

/** What the fake microphone hears: 440 Hz in bursts, over and over. */
const tone = `${stage}/microphone.wav`;
mkdirSync(stage, { recursive: true });
writeWav(tone, 48_000, 60, bursts(440, 1, 0.5));

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const quiet = [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--allow-loopback-in-peer-connection',
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const autoplay = '--autoplay-policy=no-user-gesture-required';
const microphone = `--use-file-for-fake-audio-capture=${tone}`;
const real = `http://${ADDRESS}:8080`;

export default defineConfig({
  testDir: 'e2e',
  timeout: 30_000,
  workers: 1,
  reporter: 'line',
  webServer: [
    {
      command: 'npx vite preview --host 127.0.0.1 --port 4199 --strictPort',
      url: 'http://127.0.0.1:4199/phone.html',
    },
    {
      command: `exec ${binary} demo --no-call --no-pbx --address ${ADDRESS} --directory ${stage}/site`,
      url: `${real}/readyz`,
      cwd: here('..'),
      timeout: 90_000,
      gracefulShutdown: { signal: 'SIGTERM', timeout: 20_000 },
    },
  ],
  projects: [
    {
      name: 'page alone',
      testMatch: 'phone.spec.ts',
      use: {
        baseURL: 'http://127.0.0.1:4199',
        launchOptions: {
          executablePath,
          args: [...quiet, autoplay, '--disable-features=WebRtcHideLocalIpsWithMdns'],
        },
      },
    },
    {
      name: 'real gateway',
      testMatch: 'gateway.spec.ts',
      timeout: 60_000,
      use: { baseURL: real, launchOptions: { executablePath, args: [...quiet, autoplay, microphone] } },
    },
    {
      name: 'real gateway, autoplay as browsers have it',
      testMatch: 'autoplay.spec.ts',
      timeout: 60_000,
      use: { baseURL: real, launchOptions: { executablePath, args: [...quiet, microphone] } },
    },
  ],
});
