import { render } from 'preact';
import { App } from './app';
import './phone.css';
import { begin } from './store';
import { language, words } from './strings';

document.documentElement.lang = language;
document.title = words.title;
const root = document.getElementById('phone');
if (root) render(<App />, root);
void begin();
