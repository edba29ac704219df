/**
 * As whom a job runs: the user that its image names, else an ordinary one. Pure; what it knows of the image are the
 * texts of `/etc/passwd` and `/etc/group`.
 */
import { HOME } from '../../mounts.ts';
import { FlashpodsError } from '../../../errors.ts';
import { ID_RANGE_SIZE } from '../container/job-user.ts';

export const JOB_UID = 1000;
const JOB_NAME = 'job';
/** For an image whose `job` is somebody else. */
const OTHER_NAME = 'flashpods';

/** What an image says of its users. */
export interface ImageUsers {
  readonly passwd: string;
  readonly group: string;
  /** Ids of the owners of the homes that are there, by path. */
  readonly homes: ReadonlyMap<string, number>;
  readonly bash: string | null;
}

export interface JobUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** Ids of its further groups. */
  readonly groups: readonly number[];
  readonly home: string;
  readonly shell: string;
  /** Lines that `/etc/passwd` and `/etc/group` lack. */
  readonly passwdLine: string | null;
  readonly groupLine: string | null;
}

interface Entry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly gecos: string;
  readonly home: string;
  readonly shell: string;
}

const isId = (text: string | undefined): text is `${number}` => text !== undefined && /^\d{1,9}$/.test(text);

const fieldsOf = (text: string): string[][] =>
  text.split('\n').flatMap((line) => (line.includes(':') ? [line.split(':')] : []));

const entriesOf = (passwd: string): Entry[] =>
  fieldsOf(passwd).flatMap(([name = '', , uid, gid, gecos = '', home = '', shell = '']) =>
    name !== '' && isId(uid) && isId(gid)
      ? [{ name, uid: Number(uid), gid: Number(gid), gecos, home, shell }]
      : [],
  );

interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

const groupsOf = (group: string): Group[] =>
  fieldsOf(group).flatMap(([name = '', , gid, members = '']) =>
    name !== '' && isId(gid) ? [{ name, gid: Number(gid), members: members.split(',') }] : [],
  );

/**
 * @param named `USER` of the image. Its root is not taken for a user: only a job that asks for root has it.
 * @throws FlashpodsError container_start_failed when the image does not know whom it names
 */
export function jobUser(named: string, image: ImageUsers, isRoot: boolean): JobUser {
  const entries = entriesOf(image.passwd);
  const groups = groupsOf(image.group);
  const [user = '', group = ''] = isRoot ? ['0', ''] : named.split(':');
  const isNamed = isRoot || !['', 'root', '0'].includes(user);
  const found = isNamed
    ? (entries.find(({ name }) => name === user) ?? entries.find(({ uid }) => String(uid) === user))
    : entries.find(({ uid }) => uid === JOB_UID);
  if (found === undefined && isNamed && !isId(user))
    throw unknown(`the image runs as ${user}, and its /etc/passwd has no such user`);
  const uid = found?.uid ?? (isNamed ? Number(user) : JOB_UID);
  const gid = group === '' ? (found?.gid ?? (isNamed ? 0 : JOB_UID)) : groupId(group, groups);
  if (uid >= ID_RANGE_SIZE || gid >= ID_RANGE_SIZE)
    throw unknown(`the image runs as ${named}, and ids end at ${ID_RANGE_SIZE - 1}`);

  const taken = (names: readonly { readonly name: string }[]): string =>
    names.some(({ name }) => name === JOB_NAME) ? OTHER_NAME : JOB_NAME;
  const name = found?.name ?? taken(entries);
  const shell = found?.shell || (image.bash ?? '/bin/sh');
  const home = homeOf(found, uid, image, name);
  const isKnown = found?.home === home && found.shell !== '';
  return {
    name,
    uid,
    gid,
    groups:
      group === ''
        ? groups.filter((each) => each.gid !== gid && each.members.includes(name)).map((each) => each.gid)
        : [],
    home,
    shell,
    passwdLine: isKnown
      ? null
      : [name, 'x', uid, found?.gid ?? gid, found?.gecos ?? '', home, shell].join(':'),
    groupLine: groups.some((each) => each.gid === gid) ? null : `${taken(groups)}:x:${gid}:`,
  };
}

/** The one of its entry if nobody else has it. */
function homeOf(found: Entry | undefined, uid: number, { homes }: ImageUsers, name: string): string {
  const own = name === JOB_NAME || name === OTHER_NAME ? HOME : `/home/${name}`;
  if (found === undefined) return HOME;
  const { home } = found;
  const owner = homes.get(home);
  if (owner === uid) return home;
  // Not there: it is made, where something like a home would lie.
  const canBeMade = owner === undefined && /^\/(?:home|var|srv|opt|root)(?:\/[^/:]+)*$/.test(home);
  return canBeMade && home !== '/var' && home !== '/home' ? home : own;
}

function groupId(group: string, groups: readonly Group[]): number {
  const gid = groups.find(({ name }) => name === group)?.gid;
  if (gid !== undefined) return gid;
  if (!isId(group)) throw unknown(`the image runs in the group ${group}, and its /etc/group has no such one`);
  return Number(group);
}

const unknown = (message: string): FlashpodsError => new FlashpodsError('container_start_failed', message);
