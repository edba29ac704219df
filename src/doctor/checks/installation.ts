/** Node, the directories of this installation, its token, its database, its CA file, the space that is left. */
import { constants } from 'node:fs';
import { access, readFile, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Config, variableOf } from '../../config.ts';
import { hostDirectory } from '../../default-directories.ts';
import { keptBelow, packagesBelow } from '../../containers/podman/rootfs/package-layers.ts';
import { unknownMigrations } from '../../database/inspect.ts';
import { messageOf, systemCode } from '../../errors.ts';
import { CertificateError, doubtsOf, subjectOf } from '../../mirrors/certificates.ts';
import { mirrorsOf } from '../../mirrors/mirrors.ts';
import { type Check, failure, type Finding, ok, skipped, warning } from '../check.ts';
import type { DoctorResources } from '../resources.ts';

const OLDEST_NODE = [22, 18] as const;
const USUAL_TIMEOUT_MS = 10_000;
/** With less than this much of a file system left, it is time to look. */
const LOW_SHARE = 0.15;

export const installationChecks = (resources: DoctorResources): readonly Check[] => [
  { name: 'node', timeoutMs: USUAL_TIMEOUT_MS, run: () => Promise.resolve(node()) },
  { name: 'directories', timeoutMs: USUAL_TIMEOUT_MS, run: () => directories(resources.config) },
  { name: 'token', timeoutMs: USUAL_TIMEOUT_MS, run: () => token(resources.config) },
  { name: 'disk space', timeoutMs: USUAL_TIMEOUT_MS, run: () => diskSpace(resources.config) },
  { name: 'database', timeoutMs: USUAL_TIMEOUT_MS, run: () => database(resources.config) },
  { name: 'mirrors', timeoutMs: USUAL_TIMEOUT_MS, run: () => Promise.resolve(mirrors(resources.config)) },
];

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldMajor, oldMinor] = OLDEST_NODE;
  return major > oldMajor || (major === oldMajor && minor >= oldMinor)
    ? ok(`${process.versions.node}`)
    : failure(
        `${process.versions.node} is older than ${OLDEST_NODE.join('.')}`,
        'Install Node 24, or run `./quickstart`, which brings its own.',
      );
}

const pathsOf = (config: Config): string[] => [
  ...new Set([
    config.dataDir,
    config.uploadsPath,
    config.artifactsPath,
    config.logsPath,
    config.runPath,
    dirname(config.dbPath),
  ]),
];

async function directories(config: Config): Promise<Finding> {
  const self = process.getuid?.();
  const open: string[] = [];
  const missing: string[] = [];
  for (const path of pathsOf(config)) {
    const found = await nearest(path);
    if (found === null || !(await mayWrite(found)))
      return failure(
        `${found ?? path} can't be written by this user`,
        `Run as the user of the server, \`chown\` it, or choose another place with FLASHPODS_DATA_DIR.`,
      );
    if (found !== path) {
      missing.push(path);
      continue;
    }
    const { uid, mode, isDirectory } = await stat(path).then((stats) => ({
      uid: stats.uid,
      mode: stats.mode,
      isDirectory: stats.isDirectory(),
    }));
    if (!isDirectory) return failure(`${path} is no directory`, 'Move it away, or choose another place.');
    if (uid !== self && [config.dataDir, config.runPath].includes(path))
      return failure(
        `${path} belongs to another user (uid ${uid})`,
        'Run as that user, or choose another place with FLASHPODS_DATA_DIR.',
      );
    if ((mode & 0o077) !== 0 && [config.dataDir, config.runPath].includes(path)) open.push(path);
  }
  if (open.length > 0)
    return warning(`other users may look into ${open.join(' and ')}`, `chmod 700 ${open.join(' ')}`);
  return missing.includes(config.dataDir)
    ? ok(`${config.dataDir} is not there yet; the first start makes it`)
    : ok(`${config.dataDir}, this user's alone`);
}

async function token({ apiToken, tokenFile }: Config): Promise<Finding> {
  if (apiToken !== undefined) {
    return apiToken.length >= 32
      ? ok('from the configuration')
      : warning('the configured token is short', 'Take 64 random hex characters: `openssl rand -hex 32`.');
  }
  try {
    const { mode } = await stat(tokenFile);
    if ((mode & 0o077) !== 0)
      return failure(
        `${tokenFile} has mode ${(mode & 0o777).toString(8)}: other users may read or change it`,
        `chmod 600 ${tokenFile}; if others had time to read it, delete it too: the next start makes another`,
      );
    const text = (await readFile(tokenFile, 'utf8')).trim();
    return /^[\x21-\x7e]{16,512}$/.test(text)
      ? ok(`${tokenFile}, mode ${(mode & 0o777).toString(8)}`)
      : failure(`${tokenFile} holds no token`, 'Delete it: the next start of `flashpods up` makes another.');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? ''))
      return skipped('none yet; `flashpods up` makes one at its first start');
    return failure(
      `${tokenFile} can't be read (${systemCode(error) ?? messageOf(error)})`,
      'Run as its owner.',
    );
  }
}

async function diskSpace(config: Config): Promise<Finding> {
  const needed = config.minFreeDiskMb * 2 ** 20;
  const seen = new Map<number, string>();
  const texts: string[] = [];
  const low: string[] = [];
  for (const path of pathsOf(config)) {
    const found = await nearest(path);
    if (found === null) continue;
    const { dev } = await stat(found);
    if (seen.has(dev)) continue;
    seen.set(dev, path);
    const { bavail, blocks, bsize } = await statfs(found);
    const text = `${gigabytes(bavail * bsize)} of ${gigabytes(blocks * bsize)} free for ${path}`;
    if (bavail * bsize < needed)
      return failure(
        text,
        `Free space there: below ${config.minFreeDiskMb} MB (FLASHPODS_MIN_FREE_DISK_MB) the API calls itself unhealthy.`,
      );
    if (bavail < blocks * LOW_SHARE) low.push(text);
    texts.push(text);
  }
  const kept = keptBelow(packagesBelow(hostDirectory(config)));
  if (kept.length > 0) {
    const bytes = kept.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    texts.push(`${gigabytes(bytes)} of packages installed for jobs, which go when it gets tight`);
  }
  return low.length > 0
    ? warning(low.join(', '), 'Free space there, or move parts with FLASHPODS_UPLOADS_PATH and its like.')
    : ok(texts.join(', '));
}

const gigabytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GB`;

async function database({ dbPath }: Config): Promise<Finding> {
  try {
    const unknown = await unknownMigrations(dbPath);
    if (unknown === null) return skipped(`${dbPath} is not there yet; the first start makes it`);
    return unknown.length === 0
      ? ok(dbPath)
      : failure(
          `${dbPath} is newer than this program (it has ${unknown.join(', ')})`,
          'Install the Flashpods that made it, or a newer one.',
        );
  } catch (error) {
    return failure(
      `${dbPath} can't be read: ${messageOf(error)}`,
      'Run as its owner; if it is damaged, put a copy of it back.',
    );
  }
}

/** Never an address, which may hold a password. */
function mirrors(config: Config): Finding {
  try {
    const { certificates, registries } = mirrorsOf(config);
    const names = Object.keys(registries).map(variableOf);
    if (certificates.length + names.length === 0)
      return ok('none: jobs fetch from the public registries and trust the CAs of their image');
    const [doubt] = doubtsOf(certificates);
    if (doubt !== undefined)
      return warning(
        `${config.caFile ?? ''}: ${doubt}`,
        'Put the certificate of the CA there that is in force.',
      );
    const trusted =
      certificates.length === 0 ? [] : [`CAs of jobs: ${certificates.map(subjectOf).join(', ')}`];
    return ok([...trusted, ...(names.length === 0 ? [] : [`set: ${names.join(', ')}`])].join('; '));
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    return failure(error.message, 'Correct FLASHPODS_CA_FILE: no worker starts with it.');
  }
}

/** The path itself or the next one above it that is there. */
async function nearest(path: string): Promise<string | null> {
  for (let each = path; ; each = dirname(each)) {
    try {
      await stat(each);
      return each;
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '') || each === '/') return null;
    }
  }
}

const mayWrite = (path: string): Promise<boolean> =>
  access(path, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
