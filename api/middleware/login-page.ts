import { createHash } from 'node:crypto';
import { FlashpodsError } from '../../src/errors.ts';
import type { ApiMiddleware } from '../context.ts';
import { BOARD_PATH } from '../routes/board/routes.ts';
import { contentSecurityPolicy, page } from '../routes/docs/html.ts';

const SCRIPT = `
document.querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const answer = await fetch('/session', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token: document.querySelector('input').value }),
  });
  if (answer.ok) location.reload();
  else document.querySelector('output').textContent = (await answer.json()).message;
});`;

const PAGE = page(
  'Sign in to Flashpods',
  `<h1>Flashpods</h1><form><label>Token <input type="password" autocomplete="current-password" required autofocus></label>
   <button>Sign in</button> <output></output></form>
   <p>The token of this server; <code>flashpods up</code> prints the file that holds it.</p><script>${SCRIPT}</script>`,
);

const POLICY = contentSecurityPolicy([`sha256-${createHash('sha256').update(SCRIPT).digest('base64')}`]);

/** A browser that may not see the board (yet) gets a page to sign in with; programs get the ordinary 401. */
export const loginPage: ApiMiddleware = async (ctx, next) => {
  try {
    await next();
  } catch (error) {
    const refused = error instanceof FlashpodsError && error.status === 401;
    const browser =
      ctx.method === 'GET' && ctx.get('Authorization') === '' && ctx.get('Accept').includes('text/html');
    if (!refused || !browser || (ctx.path !== BOARD_PATH && !ctx.path.startsWith(`${BOARD_PATH}/`)))
      throw error;
    ctx.status = 401;
    ctx.set('Content-Security-Policy', POLICY);
    ctx.body = PAGE;
    ctx.set('Content-Type', 'text/html; charset=utf-8');
  }
};
