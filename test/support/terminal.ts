/** A real terminal: a private tmux, whose screen can be read and resized, and into which keys are typed. */
import { join } from 'node:path';
import { execa } from 'execa';
import { eventually } from './eventually.ts';
import { temporaryDirectory } from './scratch.ts';

export interface TerminalOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly columns?: number;
  readonly rows?: number;
  readonly cwd?: string;
}

export class Terminal {
  readonly #socket: string;
  readonly #remove: () => Promise<void>;

  private constructor(socket: string, remove: () => Promise<void>) {
    this.#socket = socket;
    this.#remove = remove;
  }

  /** @param command for `/bin/sh`; the screen stays when it has ended, and tells its exit code */
  static async open(command: string, options: TerminalOptions): Promise<Terminal> {
    const directory = await temporaryDirectory();
    const terminal = new Terminal(join(directory.path, 'tmux'), () => directory.remove());
    const { env, columns = 100, rows = 30, cwd = '/' } = options;
    const size = ['-x', String(columns), '-y', String(rows)];
    // The pane of a process that has ended is overwritten by tmux: this one goes on, also after Ctrl-C.
    const script = `trap : INT\n${command}\nprintf '\\nended with %d\\n' $?\nexec sleep 600`;
    await execa(
      'tmux',
      ['-f', '/dev/null', '-S', terminal.#socket, 'new-session', '-d', '-c', cwd, ...size, script],
      { env: { TERM: 'xterm-256color', LC_ALL: 'C.UTF-8', SHELL: '/bin/sh', ...env }, extendEnv: false },
    );
    return terminal;
  }

  /** Names of keys as tmux has them (`Down`, `C-c`, `Tab`), or text. */
  async press(...keys: string[]): Promise<void> {
    await this.#tmux('send-keys', ...keys);
  }

  async type(text: string): Promise<void> {
    await this.#tmux('send-keys', '-l', text);
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }

  /** What the screen shows, without what is blank at the end of lines. */
  async text(): Promise<string> {
    return this.#tmux('capture-pane', '-p');
  }

  /** Waits until the screen shows it. @returns the screen */
  async shows(what: string | RegExp, timeoutMs = 20_000): Promise<string> {
    let screen = '';
    const found = async (): Promise<boolean> => {
      screen = await this.text();
      return typeof what === 'string' ? screen.includes(what) : what.test(screen);
    };
    try {
      await eventually(`the terminal shows ${String(what)}`, found, { timeoutMs, everyMs: 30 });
    } catch (error) {
      throw new Error(`the terminal never showed ${String(what)}, but\n${screen}`, { cause: error });
    }
    return screen;
  }

  /** Of the command, while it runs. */
  async pid(): Promise<number> {
    const shell = (await this.fact('pane_pid')).trim();
    return Number((await execa('pgrep', ['-P', shell])).stdout.trim());
  }

  /** Facts that tmux knows of the screen: `alternate_on`, `cursor_flag` … */
  async fact(name: string): Promise<string> {
    return (await this.#tmux('display-message', '-p', `#{${name}}`)).trim();
  }

  /** Waits for the end of the command. @returns its exit code */
  async exitCode(): Promise<number> {
    return Number(/^ended with (\d+)$/m.exec(await this.shows(/^ended with \d+$/m))?.[1]);
  }

  async close(): Promise<void> {
    await this.#tmux('kill-server').catch(() => undefined);
    await this.#remove();
  }

  async #tmux(...args: string[]): Promise<string> {
    const { stdout } = await execa('tmux', ['-S', this.#socket, ...args]);
    return stdout;
  }
}
