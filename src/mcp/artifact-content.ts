/** An artifact's bytes on their way to a model: small, and text where they are text. */
import type { ArtifactAnswer } from '../client/answers.ts';
import { ClientError } from '../client/client-error.ts';
import type { Backend } from './backend.ts';

const IMAGES: Readonly<Record<string, string>> = {
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
};

export type ArtifactKind =
  | { readonly kind: 'text'; readonly mimeType: string; readonly text: string }
  | { readonly kind: 'image' | 'binary'; readonly mimeType: string; readonly base64: string };

/** The type by the name alone; a name says little, but it is never run or shown as a page. */
export function mimeTypeOf(name: string): string {
  const ending = /\.([A-Za-z0-9]+)$/.exec(name)?.[1]?.toLowerCase() ?? '';
  return IMAGES[ending] ?? (ending === 'json' ? 'application/json' : 'application/octet-stream');
}

export const isImage = (name: string): boolean => mimeTypeOf(name).startsWith('image/');

/** @throws ClientError download_failed when it is not as long as promised, or what the API answered */
export async function readArtifact(
  backend: Pick<Backend, 'openArtifact'>,
  jobId: string,
  artifact: ArtifactAnswer,
  signal?: AbortSignal,
): Promise<ArtifactKind> {
  const response = await backend.openArtifact(jobId, artifact.name, signal);
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > artifact.size_bytes) break;
      chunks.push(chunk);
    }
  } catch (cause) {
    signal?.throwIfAborted();
    throw new ClientError('download_failed', `The connection broke while ${artifact.name} was fetched.`, {
      cause,
    });
  } finally {
    response.destroy();
  }
  if (bytes !== artifact.size_bytes) {
    throw new ClientError('download_failed', `${artifact.name} is not as long as was promised.`);
  }
  const content = Buffer.concat(chunks);
  const mimeType = mimeTypeOf(artifact.name);
  if (isImage(artifact.name)) return { kind: 'image', mimeType, base64: content.toString('base64') };
  const text = asText(content);
  if (text === null) return { kind: 'binary', mimeType, base64: content.toString('base64') };
  return { kind: 'text', mimeType: mimeType === 'application/json' ? mimeType : 'text/plain', text };
}

/** UTF-8 without NUL is text. */
function asText(content: Buffer): string | null {
  if (content.includes(0)) return null;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}
