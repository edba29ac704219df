/**
 * Prints, as lines `name=value` for shell scripts, where this user's installation keeps its things, and the server
 * that `up` started if one lives. Values hold no newline.
 */
import { findLocalServer } from '../src/client/local-server.ts';
import { ConfigError, loadConfig } from '../src/config.ts';

try {
  const { dataDir, runPath, tokenFile } = loadConfig();
  const server = findLocalServer(runPath);
  for (const [name, value] of Object.entries({ dataDir, runPath, tokenFile, url: server?.url ?? '' })) {
    process.stdout.write(`${name}=${value.replaceAll(/[\r\n]/g, '')}\n`);
  }
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
