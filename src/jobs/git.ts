/** What git takes for a branch and for the address of a repository. */

/**
 * What may not be in a branch, or be one, by git-check-ref-format(1); and what `git branch` refuses beyond it: a leading
 * hyphen, which would be an option, and `@` and `HEAD`, which are the current commit.
 */
const NOT_IN_A_BRANCH =
  /[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|^[-/]|[/.]$|(?:^|\/)\.|\.lock(?:\/|$)|^@$|^HEAD$/;

export const isBranchName = (name: string): boolean => name !== '' && !NOT_IN_A_BRANCH.test(name);

/** The characters of a branch, as far as a pattern without lookahead can tell. */
export const BRANCH_PATTERN = String.raw`^[^\u0000-\u0020\u007f~^:?*\[\\]+$`;

const HOST = String.raw`(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])`;
const USER = String.raw`[A-Za-z0-9_][A-Za-z0-9._~-]*`;
const PATH = String.raw`[^\s\u0000-\u001f\u007f]+`;

/**
 * Networked schemes only: `file:` and `ext::` name files and programs. A user is taken where ssh needs one; in the
 * others it would be a credential, which would be stored and shown.
 */
export const GIT_URL_PATTERN = `^(?:(?:https?|git)://${HOST}(?::\\d{1,5})?/${PATH}|ssh://(?:${USER}@)?${HOST}(?::\\d{1,5})?/${PATH}|${USER}@${HOST}:${PATH})$`;

const GIT_URL = new RegExp(GIT_URL_PATTERN);

export const isGitUrl = (url: string): boolean => GIT_URL.test(url);
