/** The one number that everything random in tests comes from. */
const named = process.env['FLASHPODS_TEST_SEED'] || '1';

/** The same in every run, unless FLASHPODS_TEST_SEED names another or says `random`. */
export const SEED = named === 'random' ? Math.floor(Math.random() * 2 ** 31) : Number(named);
if (!Number.isSafeInteger(SEED)) throw new Error(`FLASHPODS_TEST_SEED is no whole number: ${named}`);
