import { FlashpodsError } from '../../../src/errors.ts';
import { isEncoding } from '../../../src/uploads/tar/tar-intake.ts';
import { principalOf, viewOf } from '../../context.ts';
import { json, operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentCreated, presentUpload } from './present.ts';
import {
  createdUploadSchema,
  createUploadSchema,
  finalizeUploadSchema,
  receivedSchema,
  uploadIdParams,
  uploadSchema,
} from './schema.ts';

export const uploadOperations = ({ uploads }: Pick<ApiResources, 'uploads'>): readonly Operation[] => [
  operation({
    id: 'createUpload',
    tag: 'uploads',
    method: 'post',
    path: '/uploads',
    summary: 'Open an upload',
    description:
      'Files come as tar streams (`PUT /uploads/{id}/files`) or by rsync, as often as you like, until it is finalized. ' +
      'With a `base`, send only what changed: the rest is taken from there, and stored once.',
    scope: 'uploads:write',
    body: { required: false, json: createUploadSchema },
    answers: { 201: json('It takes files now.', createdUploadSchema) },
    errors: [
      'invalid_request',
      'payload_too_large',
      'unsupported_media_type',
      'upload_not_found',
      'upload_not_finalized',
      'upload_expired',
      'too_many_open',
    ],
    async handle(ctx, { body: { upload_id: id, base: baseId } }) {
      const upload = await uploads.create(principalOf(ctx).owner, { id, baseId });
      ctx.status = 201;
      ctx.set('Location', `/uploads/${upload.id}`);
      ctx.body = presentCreated(upload, uploads.rsyncTarget(upload), ctx.hostname);
    },
  }),
  operation({
    id: 'putUploadFiles',
    tag: 'uploads',
    method: 'put',
    path: '/uploads/{id}/files',
    summary: 'Send files as a tar stream',
    description:
      'Several streams, one after another, add to the same tree. One that breaks off or is refused leaves nothing ' +
      'behind; if files had come before it, the whole upload is over, since nobody could tell what it still holds.',
    scope: 'uploads:write',
    params: uploadIdParams,
    body: { required: true, bytes: 'application/x-tar' },
    answers: { 200: json('All of the stream is stored.', receivedSchema) },
    errors: [
      'invalid_request',
      'unsupported_media_type',
      'upload_not_found',
      'upload_already_finalized',
      'upload_already_consumed',
      'upload_expired',
      'quota_exceeded',
      'insufficient_storage',
    ],
    async handle(ctx, { params: { id } }) {
      const encoding = ctx.get('Content-Encoding').toLowerCase() || 'identity';
      if (!isEncoding(encoding)) {
        throw new FlashpodsError(
          'unsupported_media_type',
          'A tar stream is taken as it is or with `Content-Encoding: gzip` or `zstd`.',
        );
      }
      const { upload, received } = await uploads.receive(id, viewOf(ctx), ctx.req, encoding);
      ctx.body = { ...presentUpload(upload), received };
    },
  }),
  operation({
    id: 'finalizeUpload',
    tag: 'uploads',
    method: 'post',
    path: '/uploads/{id}/finalize',
    summary: 'Make the immutable snapshot',
    scope: 'uploads:write',
    params: uploadIdParams,
    body: { required: false, json: finalizeUploadSchema },
    answers: { 200: json('A job may name it now.', uploadSchema) },
    errors: [
      'invalid_request',
      'payload_too_large',
      'unsupported_media_type',
      'upload_not_found',
      'upload_already_finalized',
      'upload_already_consumed',
      'upload_expired',
      'insufficient_storage',
    ],
    async handle(ctx, { params: { id }, body }) {
      ctx.body = presentUpload(await uploads.finalize(id, viewOf(ctx), body));
    },
  }),
  operation({
    id: 'getUpload',
    tag: 'uploads',
    method: 'get',
    path: '/uploads/{id}',
    summary: 'One upload',
    scope: 'uploads:write',
    params: uploadIdParams,
    answers: { 200: json('The upload.', uploadSchema) },
    errors: ['upload_not_found'],
    async handle(ctx, { params: { id } }) {
      ctx.body = presentUpload(await uploads.get(id, viewOf(ctx)));
    },
  }),
  operation({
    id: 'deleteUpload',
    tag: 'uploads',
    method: 'delete',
    path: '/uploads/{id}',
    summary: 'Discard an upload',
    scope: 'uploads:write',
    params: uploadIdParams,
    answers: { 204: { description: 'It can’t be used any longer.' } },
    errors: ['upload_not_found', 'upload_already_consumed', 'upload_expired'],
    async handle(ctx, { params: { id } }) {
      await uploads.delete(id, viewOf(ctx));
      ctx.status = 204;
    },
  }),
];
